"""What all errors have in common that a person can do something about."""


class Foreseen(Exception):
    """Data to learn from that cannot be read, or is too little; the message is for its owner."""
