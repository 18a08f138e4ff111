"""A portal with one AMC account and its people, and a program with a token."""

from tests.api.conftest import program
from tests.engine.conftest import account, amazon, clock, onboarding, queued
from tests.pages.conftest import admin, analyst, approver, as_

__all__ = ["account", "admin", "amazon", "analyst", "approver", "as_", "clock", "onboarding", "program", "queued"]
