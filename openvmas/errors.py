"""The one error family: every message is a sentence for the user that ends with the remedy."""


class OpenVMASError(Exception):
    """Something the user can mend. The command line prints the message and exits with `exit_code`."""

    exit_code = 2


class InputError(OpenVMASError):
    """A file that was given cannot be used."""


class OutputError(OpenVMASError):
    """A result cannot be written where it was asked for."""


class PlanError(OpenVMASError):
    """A plan, or an edit of one, does not make sense; the message names line and field."""


class ModelError(OpenVMASError):
    """A preset or a file of weights is missing, damaged or of another version."""


class OptionError(OpenVMASError):
    """An option has a name that does not exist or a value that makes no sense."""


class Interrupted(KeyboardInterrupt):
    """A signal asked the program to end.

    A class of its own, because CPython ends by SIGINT after any bare `KeyboardInterrupt` that passed through code made
    from text (as `dataclasses` makes it), even where it was caught; the exit code 130 would be lost.
    """
