"""An account with its people, and a chain of entries."""

from __future__ import annotations

import pytest

from onboarding.models import Person
from tests.engine.conftest import account  # noqa: F401
from tests.pages.conftest import admin, analyst, as_, other_account, outsider, text_of  # noqa: F401


@pytest.fixture
def root(db) -> Person:
    return Person.objects.create_user("root", name="Ro Root", email="root@example.com", is_superuser=True)
