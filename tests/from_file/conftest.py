import pytest
from django.utils import timezone

from tests.engine.conftest import (  # noqa: F401
    Clock,
    account,
    admin,
    amazon,
    analyst,
    approver,
    onboarding,
    queued,
)


@pytest.fixture
def clock() -> Clock:
    """The commands take the time from the machine."""
    return Clock(timezone.now())
