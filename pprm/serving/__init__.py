"""Both stages together: an artifact, the list, its rules and reasons."""
