"""Retrieval and ranking together: an artifact, the list, its rules and reasons."""
