"""Why an act was refused, in words for the person who tried."""


class Refused(Exception):
    """The act can't be done now; the message says why, for the page."""


class NotAllowed(Refused):
    """The person has no right to it."""
