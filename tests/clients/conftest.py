"""Every test here may use the local Amazon."""

from tests.simulated import amazon, connected

__all__ = ["amazon", "connected"]
