"""The one error that a person is meant to read: it says what is wrong and what to do next."""


class StackError(Exception):
    """Something on this machine keeps the stack from doing what was asked.

    The message is shown to the person as it is, so it names the next step.
    """
