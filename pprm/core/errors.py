"""What all errors have in common that a person can do something about."""


class Foreseen(Exception):
    """Its message is a sentence that says what is wrong and what to do: a traceback adds nothing."""
