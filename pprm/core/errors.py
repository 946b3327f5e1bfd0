"""Errors that a person can do something about."""


class Foreseen(Exception):
    """A setting, a file or a broker is not what it must be.

    The message says what, and what to do: the traceback would say no more.
    """
