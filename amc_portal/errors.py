"""What goes wrong, each with the exit code of the program."""

from __future__ import annotations


class Failed(Exception):
    """The portal refused it, or it went wrong here."""

    exit_code = 1


class Usage(Failed):
    """The command or the settings are not right."""

    exit_code = 2


class NotAllowed(Failed):
    """The token does not work, or may not do this."""

    exit_code = 3


class NotFound(Failed):
    """There is no such thing, or none that the person may see."""

    exit_code = 4


class Away(Failed):
    """The portal can't be reached, or asks to come back later."""

    exit_code = 5


class NeedsSomebody(Failed):
    """What was followed waits for a person."""

    exit_code = 6


class Stopped(Failed):
    """What was followed has stopped with a problem, or was cancelled."""

    exit_code = 7
