"""From data to an artifact."""
