"""Retrieval: a network over the whole catalogue, on the CPU and on a device."""
