"""The error whose message is shown to the person."""


class StackError(Exception):
    """The stack cannot do what was asked. The message says why, and what to do next."""
