"""What operators see: health, metrics, logs, the end of the process."""
