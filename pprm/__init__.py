"""The model: usable without Kafka."""
