"""Of several who do the same at the same moment one does it, on every database that the portal stands on."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import Counter

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from onboarding import audit
from onboarding.clients.failures import Fix
from onboarding.engine.leases import claim, renew
from onboarding.engine.moves import Overtaken
from onboarding.guide.mapping_job import claim_refresh
from onboarding.models import AuditEntry, Decision, Instance, KeptAnswer, MappingTable, RequestComment, Run
from onboarding.services import from_file, lifecycle, requests, runs
from onboarding.services.errors import NotAllowed, Refused
from scripts.stack import ROOT
from tests.pages.conftest import text_of
from tests.simulated import in_threads

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def at_once(tmp_path, monkeypatch):
    """`at_once(4, act)`: what `act` gave or raised in each of four threads; a later call sees what they wrote."""

    def go(count: int, act) -> list[object]:
        return in_threads(count, act, tmp_path, monkeypatch)

    return go


def ends(results: list[object]) -> Counter[str]:
    return Counter(type(one).__name__ for one in results)


def test_one_worker_gets_the_step_and_one_takes_it_over(onboarding, at_once, settings):
    onboarding.confirm()
    step, now = onboarding.step("amc-access"), onboarding.clock()
    numbers = itertools.count()
    results = at_once(6, lambda: claim(step.pk, f"worker-{next(numbers)}", now=now))
    (held,) = [one for one in results if one is not None]
    onboarding.clock.skip(settings.LEASE_SECONDS + 1)
    later = onboarding.clock()
    again = at_once(6, lambda: claim(step.pk, f"another-{next(numbers)}", now=later))
    (taken,) = [one for one in again if one is not None]
    assert taken.lease_owner.startswith("another-")
    assert ends(at_once(1, lambda: renew(held, now=later))) == {Overtaken.__name__: 1}


def test_one_approval_of_two_clicks(onboarding, approver, at_once):
    request = onboarding.until_asked()
    now = onboarding.clock()
    results = at_once(4, lambda: requests.approve(person=approver, request=request, digest=request.digest, now=now))
    assert ends(results) == {"Request": 1, NotAllowed.__name__: 3}
    assert at_once(1, Decision.objects.count) == [1]
    assert at_once(1, AuditEntry.objects.filter(act="request.approved").count) == [1]


def test_approved_and_withdrawn_at_once_is_one_of_the_two(onboarding, analyst, approver, at_once):
    request = onboarding.until_asked()
    now = onboarding.clock()
    acts = itertools.cycle(
        [
            lambda: requests.withdraw(person=analyst, request=request, now=now),
            lambda: requests.approve(person=approver, request=request, digest=request.digest, now=now),
        ]
    )
    results = at_once(2, lambda: next(acts)())
    assert sorted(ends(results).values()) == [1, 1] and ends(results)["Request"] == 1
    (state,) = at_once(1, lambda: onboarding.step("create-instance").state)
    assert state in ("queued", "ready")


def test_the_chain_of_the_audit_log_stays_whole(account, analyst, at_once):
    before = audit.head()[0]

    def write() -> None:
        for _ in range(8):
            audit.record("chain.tried", actor=analyst, account=account, subject="x")

    assert at_once(6, write) == [None] * 6
    (verdict,) = at_once(1, audit.verify)
    assert (verdict.entries, verdict.problem) == (before + 48, "")


def test_a_request_with_a_key_has_one_effect(onboarding, approver, program, at_once):
    request, caller = onboarding.until_asked(), program(approver)
    path = f"/requests/{request.pk}/comments"
    answers = at_once(4, lambda: caller.post(path, {"text": "Why now?"}, key="k-1"))
    assert {(one.status_code, one.content) for one in answers} == {(201, answers[0].content)}
    assert sum("Idempotency-Replayed" in one for one in answers) == 3
    assert at_once(1, RequestComment.objects.count) == [1] == at_once(1, KeptAnswer.objects.count)


def test_of_many_clicks_on_start_one_makes_an_onboarding(account, analyst, as_, at_once):
    browsers = iter([as_(analyst) for _ in range(6)])
    form = {"account": account.pk, "name": "Acme US"}
    answers = at_once(6, lambda: next(browsers).post("/instances/new/", form))
    assert Counter(one.status_code for one in answers) == {302: 1, 422: 5}
    refused = next(one for one in answers if one.status_code == 422)
    assert "already has an instance called “Acme US”" in text_of(refused)
    assert at_once(1, Run.objects.count) == [1] == at_once(1, Instance.objects.count)


def test_two_onboardings_do_not_get_one_name(account, analyst, at_once):
    now = timezone.now()
    begun = [runs.run_start(person=analyst, account=account, name=name, now=now) for name in ("One", "Two", "Three")]
    waiting = iter(begun)

    def rename() -> None:
        step = next(waiting).steps.select_related("run__account", "run__instance").get(key="create-instance")
        situation = runs.situation_of(step.run)
        form = runs.question_of(runs.step_of("onboard", step.key), situation, "name")(
            {"name": "Acme US"}, situation=situation
        )
        # All three have looked before any of them is kept.
        assert form.is_valid()
        together.wait(20)
        runs.answer_save(person=analyst, step=step, form=form, now=now)

    together = threading.Barrier(3)
    assert ends(at_once(3, rename)) == {"NoneType": 1, Refused.__name__: 2}
    assert at_once(1, Instance.objects.filter(name="Acme US").count) == [1]


def test_the_same_file_twice_at_once_is_one_onboarding(account, analyst, at_once):
    content = (ROOT / "examples" / "single-party.yaml").read_text("utf-8")
    file = from_file.read(content.replace("ENTITYHARBOURPINE", account.entity_id))
    now = timezone.now()
    results = at_once(4, lambda: from_file.onboard(file, person=analyst, now=now))
    assert len({one.pk for one in results if isinstance(one, Run)}) == 1 and ends(results) == {"Run": 4}, results


def test_an_onboarding_is_submitted_once(onboarding, analyst, at_once):
    onboarding.confirm()
    onboarding.work("amc-access")
    onboarding.describe()

    now = onboarding.clock()

    def ask() -> object:
        return runs.submit(person=analyst, step=onboarding.step("create-instance"), now=now)

    results = at_once(4, ask)
    made = [one for one in results if not isinstance(one, Exception)]
    assert len(made) == 1 and all(isinstance(one, Refused) for one in results if isinstance(one, Exception))


def test_an_instance_has_one_open_run_of_a_procedure(onboarding, analyst, at_once):
    instance = onboarding.run.instance
    type(instance).objects.filter(pk=instance.pk).update(instance_id="amcthere", creation_status="COMPLETED")
    instance.refresh_from_db()

    def begin() -> Run:
        return lifecycle.start(person=analyst, instance=instance, procedure="advertisers", now=timezone.now())

    results = at_once(4, begin)
    assert len({one.pk for one in results if isinstance(one, Run)}) == 1, results
    assert not [one for one in results if isinstance(one, Exception) and not isinstance(one, Refused)]
    assert at_once(1, Run.objects.filter(procedure="advertisers", ended_at=None).count) == [1]


def test_the_refresh_of_fourteen_days_is_claimed_once(onboarding, at_once):
    now = timezone.now()
    run = onboarding.run
    table = MappingTable.objects.create(instance=run.instance, table_id="t", name="t", queryable=True, seen_at=now)
    about = {"account": run.account, "instance": run.instance, "owner": run.owner, "started_at": now}
    # Each about a subject of its own: what lets only one of them be open is not what is tried here.
    rivals = [Run.objects.create(procedure="refresh", subject=f"rival-{n}", **about) for n in range(4)]
    waiting = iter(list(rivals))

    def take() -> object:
        rival = next(waiting)
        with transaction.atomic():
            claim_refresh(table, rival, now)
        return rival

    results = at_once(4, take)
    assert ends(results) == {"Run": 1, Fix.__name__: 3}, results
    (winner,) = [one for one in results if isinstance(one, Run)]
    held = at_once(1, lambda: MappingTable.objects.get(pk=table.pk).refresh_claim_id)
    assert held == [winner.pk]


def test_the_database_has_every_constraint_and_index_of_the_models(db):
    """Migrated from nothing, the tables are what the models say; rules that no code could get round."""
    from django.apps import apps

    for model in apps.get_app_config("onboarding").get_models():
        with connection.cursor() as cursor:
            there = connection.introspection.get_constraints(cursor, model._meta.db_table)
        wanted = {one.name for one in (*model._meta.constraints, *model._meta.indexes)}
        assert wanted <= set(there), model
    person = {"amazon_id": "amzn1.twice", "name": "Twice", "password": "!"}
    from onboarding.models import Person

    Person.objects.create(**person)
    with pytest.raises(IntegrityError):
        Person.objects.create(**person)


def test_people_and_workers_on_one_account_do_not_stand_in_each_others_way(onboarding, account, approver, at_once):
    """Approvals, and acts that the audit log holds fast while they end: no two may wait for each other."""
    request, now = onboarding.until_asked(), onboarding.clock()
    acts = itertools.cycle([0, 1])

    def go() -> None:
        if next(acts):
            for number in range(8):
                audit.record("chain.tried", actor=approver, account=account, subject=str(number))
            return
        for number in range(8):
            requests.comment(person=approver, request=request, text=str(number), now=now)
            with contextlib.suppress(NotAllowed, Refused):
                requests.approve(person=approver, request=request, digest="0" * 64, now=now)

    assert at_once(6, go) == [None] * 6
    requests_left = at_once(1, lambda: audit.verify().problem)
    assert requests_left == [""]


def test_rows_are_locked_in_one_way_alone():
    """A lock on what is joined, or against who refers to a row, has transactions of PostgreSQL wait in a circle."""
    found = [
        path.name for path in (ROOT / "onboarding").rglob("*.py") if "select_for_update" in path.read_text("utf-8")
    ]
    assert found == ["locks.py"]
