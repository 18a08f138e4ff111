"""Onboardings and later runs on the local Amazon, and what a person reads when something goes wrong."""

from __future__ import annotations

import pytest
from django.utils import timezone

from onboarding.engine import executor
from onboarding.models import Step
from tests.join.conftest import PRIMARY, Joining, connect, joining, portal_itself
from tests.lifecycle.conftest import Lifecycle, life
from tests.pages.conftest import text_of
from tests.simulated import amazon, browser, connected

__all__ = ["amazon", "connected", "joining", "life", "portal_itself"]


class Case:
    """A run with what its AWS account holds, and the page of its step."""

    def __init__(self, driver: Joining) -> None:
        self.driver, self.amazon = driver, driver.amazon

    def holds(self, account: str = PRIMARY) -> set[tuple[str, str, str]]:
        """Everything that there is in the AWS account, and how it stands."""
        accounts = self.amazon.control("GET", "world")["aws"]
        found = next((one["resources"] for one in accounts if one["id"] == account), [])
        return {(one["kind"], one["name"], one.get("status", "")) for one in found}

    def page(self, key: str) -> str:
        """What the step's page says to the analyst, by the address that is redirected to."""
        step = self.driver.step(key)
        answer = browser(self.driver.analyst).get(f"/runs/{step.run_id}/steps/{key}/progress/", follow=True)
        assert answer.status_code == 200
        return text_of(answer)

    def failed(self, key: str, *words: str) -> dict:
        """The failure of a step that has failed for a person to mend; its page has the words, and who mends it."""
        step = self.driver.step(key)
        assert (step.state, (step.failure or {}).get("kind")) == ("failed", "fix"), (step.state, step.failure)
        page = self.page(key)
        assert f"Who can fix it {step.failure['who']}" in page
        for word in (step.failure["what"], step.failure["todo"], *words):
            assert word in page, (word, page)
        assert "Traceback" not in page
        return step.failure

    def again(self, key: str) -> Step:
        """Somebody clicks “Try again” on the page, and a worker takes the step."""
        step = self.driver.step(key)
        base = f"/runs/{step.run_id}/steps/{key}/"
        answer = browser(self.driver.analyst).post(f"{base}retry")
        assert answer.status_code == 302, answer.content
        return self.driver.work(key)


@pytest.fixture
def case(joining) -> Case:
    """An onboarding whose AWS account is connected, with the invitation read: it stands before joining."""
    joining.portal_role = connect(joining.account, joining.amazon.url, PRIMARY)
    joining.until_invited()
    for key in ("aws-access", "invitation"):
        assert joining.work(key).state == "done", joining.step(key).failure
    return Case(joining)


@pytest.fixture
def later(life: Lifecycle) -> Case:
    """An instance that is there, for the runs that come after."""
    return Case(life)


def settled_for(step: Step, seconds: float) -> None:
    """The trouble of a waiting step has gone on for so long."""
    step.troubled_since = timezone.now() - timezone.timedelta(seconds=seconds)
    step.next_attempt_at = timezone.now()
    step.save(update_fields=["troubled_since", "next_attempt_at"])
    executor.work(step.pk)
