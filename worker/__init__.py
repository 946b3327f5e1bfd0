"""The service: Kafka events in, recommendations out."""
