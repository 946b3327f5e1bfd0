"""What the worker knows of Kafka: topics, rights, partitioners, reading and refusals."""
