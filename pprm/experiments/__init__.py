"""What compares models, and is needed neither to serve nor to train."""
