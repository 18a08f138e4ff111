"""Advertisers, leaving and deleting with the downloaded scripts: twice, and where the worker ends."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone

from onboarding.services import checks, runs
from tests.archives.conftest import PEOPLES, WORKERS
from tests.engine.conftest import person
from tests.lifecycle.conftest import Hung, Lifecycle
from tests.simulated import browser, connect

pytestmark = pytest.mark.django_db


def life(amazon, who: tuple) -> Lifecycle:
    """An instance of one of the two AMC accounts, and the people who change it."""
    entity, primary, _ = who
    name = entity.name.split()[0]
    account = connect(amazon, account=entity)
    analyst, approver = person(account, f"Mia {name}", "analyst"), person(account, f"Paul {name}", "approver")
    return Lifecycle(amazon, account, analyst, approver, primary)


def archive(life: Lifecycle, key: str) -> bytes:
    """What the page of the step has for download."""
    answer = browser(life.analyst).get(f"/runs/{life.run.pk}/steps/{key}/commands/")
    assert answer.status_code == 200, answer.content
    return answer.content


def state_of(life: Lifecycle) -> str:
    """Everything in the AWS account and in the instance, without what has to differ between two accounts."""
    world = life.amazon.control("GET", "world")
    account = next(one["resources"] for one in world["aws"] if one["id"] == life.primary)
    entity = next(one["instances"] for one in world["amc"] if one["id"] == life.account.entity_id)
    mine = [one for one in entity if one["instanceId"] == life.instance.instance_id]
    kept = [
        {name: value for name, value in one.items() if name != "arn"}
        for one in account
        if not (one["kind"] == "role" and one["name"].startswith("portal-"))
    ]
    seen = [
        (
            one["advertisers"],
            one["advertiserUpdates"],
            [table["name"] for table in one["mappingTables"]],
            one["collaboration"],
        )
        for one in mine
    ]
    text = json.dumps([sorted(map(json.dumps, kept)), seen])
    return text.replace(life.primary, "PRIMARY").replace(life.instance.instance_id, "INSTANCE")


def advertisers_asked(life: Lifecycle) -> None:
    life.begin("advertisers")
    assert life.work("advertisers-now").state == "done"
    life.answer("advertisers", "add", dsp=" ".join(map(str, range(100, 112))))


def leaving_asked(life: Lifecycle, who: str) -> None:
    life.begin("leave")
    life.answer("leave-look", "who", who=who)
    life.ask("leave-look")
    assert life.work("leave-look").state == "done", life.step("leave-look").failure
    life.answer("leave", "confirm", understood="on", typed=life.instance.name)


def deletion_asked(life: Lifecycle) -> None:
    life.begin("delete-instance")
    assert life.work("delete-look").state == "done"
    life.answer("delete-instance", "confirm", understood="on", typed=life.instance.name)


def worker_goes(life: Lifecycle, key: str) -> None:
    life.submit(key)
    assert life.work(key).state == "done", life.step(key).failure


def accepted(life: Lifecycle, prefix: str) -> int:
    exchanges = life.amazon.control("GET", "exchanges")
    return sum(one["operation"].startswith(prefix) and 200 <= (one["status"] or 0) < 300 for one in exchanges)


def twice(life: Lifecycle, shell, key: str, account: str = "") -> None:
    """The script of the step ends well; a second run changes nothing more."""
    folder = shell.unpack(archive(life, key), f"{life.primary}-{key}")
    status, said = shell.run(folder, account, amc=True)
    assert status == 0, said
    before, changes = state_of(life), accepted(life, "cleanrooms:Delete")
    status, said = shell.run(folder, account, amc=True)
    assert status == 0, said
    assert (state_of(life), accepted(life, "cleanrooms:Delete")) == (before, changes), said


@pytest.mark.timeout(560)
def test_what_people_change_alone_ends_where_the_worker_ends(amazon, worlds, shell):
    worker, alone = life(amazon, WORKERS), life(amazon, PEOPLES)
    for one in (worker, alone):
        Hung(one)
    alone.account.connection.refresh_from_db()

    advertisers_asked(worker)
    worker_goes(worker, "advertisers")
    advertisers_asked(alone)
    twice(alone, shell, "advertisers")
    # What the scripts have made, the worker finds: it makes nothing a second time.
    made = accepted(alone, "amc:createAdvertiserUpdate")
    assert made == 4
    assert state_of(alone) == state_of(worker)

    leaving_asked(worker, "portal")
    worker_goes(worker, "leave")
    runs.run_cancel(person=alone.analyst, run=alone.run, now=timezone.now())
    leaving_asked(alone, "ourselves")
    alone.submit("leave")
    assert alone.work("leave", tries=3).waiting_for == "amazon"
    twice(alone, shell, "leave", alone.primary)
    checks.check_now(person=alone.analyst, step=alone.step("leave"), now=timezone.now())
    assert alone.work("leave").state == "done", alone.step("leave").failure
    assert state_of(alone) == state_of(worker)
    for one in (worker, alone):
        assert one.instance.memberships.get().left_at is not None

    deletion_asked(worker)
    worker_goes(worker, "delete-instance")
    deletion_asked(alone)
    twice(alone, shell, "delete-instance")
    worker_goes(alone, "delete-instance")
    assert alone.step("delete-instance").calls.get(key="instance").outcome == "adopted"
    assert state_of(alone) == state_of(worker)
    assert accepted(alone, "amc:deleteInstance") == 2
