"""`amc-portal`: the AMC onboarding portal from a terminal or a script, by its API. Knows nothing else of the portal."""

__version__ = "0.1.0"
