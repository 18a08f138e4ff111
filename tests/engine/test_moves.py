"""The table of moves: what it allows happens once, what it does not name never happens."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onboarding.engine.moves import FINAL, TABLE, MoveRefused, Overtaken, move
from onboarding.models import Step, StepState

STATES = [state.value for state in StepState]


def test_every_state_is_in_the_table():
    assert set(TABLE) == set(STATES)
    assert {"done", "cancelled"} == FINAL


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.lists(st.sampled_from(STATES), max_size=12))
def test_a_row_only_ever_walks_along_the_table(onboarding, path):
    step = onboarding.step("requirements")
    Step.objects.filter(pk=step.pk).update(state="ready", version=0, lease_until=None)
    step.refresh_from_db()
    for to in path:
        before, now = step.state, onboarding.clock()
        lease = {"lease_owner": "w", "lease_until": now + timedelta(seconds=9)} if to == "running" else {}
        if to in TABLE[before]:
            move(step, to, now=now, **lease)
            assert Step.objects.get(pk=step.pk).state == to
        else:
            with pytest.raises(MoveRefused):
                move(step, to, now=now, **lease)
            assert Step.objects.get(pk=step.pk).state == before


def test_two_that_read_the_same_row_do_not_both_move_it(onboarding):
    first, second = onboarding.step("requirements"), onboarding.step("requirements")
    move(first, "cancelled", now=onboarding.clock())
    with pytest.raises(Overtaken):
        move(second, "queued", now=onboarding.clock())
    assert onboarding.step("requirements").state == "cancelled"


def test_a_running_row_without_a_lease_cannot_exist(onboarding):
    from django.db import IntegrityError

    with pytest.raises(IntegrityError):
        Step.objects.filter(pk=onboarding.step("requirements").pk).update(state="running", lease_until=None)
