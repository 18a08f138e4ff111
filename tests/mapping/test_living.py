"""Living with a mapping table: refreshes once in 14 days, by hand and by schedule, replacement, deletion."""

from datetime import timedelta

import pytest
from django.utils import timezone

from onboarding.clients.failures import Fix
from onboarding.guide.mapping_job import claim_refresh
from onboarding.guide.refresh import changed_since
from onboarding.models import AccountPolicy, AuditEntry, DatasetVersion, MappingJob, MappingTable, Notice, Request, Run
from onboarding.services import mapping, mapping_looks, runs
from onboarding.services.errors import NotAllowed, Refused
from tests.join.conftest import PRIMARY, aws
from tests.lifecycle.conftest import life
from tests.mapping.conftest import BUCKET
from tests.simulated import in_threads

pytestmark = pytest.mark.django_db
__all__ = ["life"]


@pytest.fixture
def table(mapped, life) -> MappingTable:
    def build() -> None:
        mapped.dataset("people")
        assert mapped.create("customers").state == "done"

    mapped.prepared("a mapping table", build)
    return MappingTable.objects.get()


def change_a_file(mapped) -> None:
    """Somebody writes a file of the data set anew."""
    s3 = mapped.client("s3")
    key = next(one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET, Prefix="amc/people/v1/identity/")["Contents"])
    body = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    s3.put_object(Bucket=BUCKET, Key=key.replace("part-", "part-9"), Body=body)


def refresh(mapped, life, table, **answers):
    mapped.start("refresh", table)
    for slug, values in answers.items():
        life.answer("refresh", slug, **values)
    life.submit("refresh")
    return mapped.finish("refresh")


def test_once_in_fourteen_days(mapped, life, table):
    # Nothing changed, so it is asked first.
    mapped.start("refresh", table)
    with pytest.raises(Refused, match="no answer"):
        life.ask("refresh")
    life.answer("refresh", "unchanged", anyway="on")
    life.submit("refresh")
    step = mapped.finish("refresh")
    assert step.state == "done", step.failure
    table.refresh_from_db()
    assert [job.kind for job in table.jobs.order_by("pk")] == ["create", "refresh"]
    assert table.next_refresh_at == table.refreshed_at + timedelta(days=14)
    with pytest.raises(Refused, match=r"one refresh in 14 days: from .* UTC"):
        mapping.start(person=life.analyst, table=table, procedure="refresh", now=timezone.now())
    mapped.days_pass(13.9)
    with pytest.raises(Refused, match="14 days"):
        mapping.start(person=life.analyst, table=table, procedure="refresh", now=timezone.now())
    mapped.days_pass(0.2)
    change_a_file(mapped)
    mapping_looks.look(table.pk)
    # What changed needs no second thought.
    assert refresh(mapped, life, table).state == "done"
    assert table.jobs.count() == len(mapped.amc_jobs(table)) == 3


@pytest.mark.parametrize("kind", ["cut_before", "cut_after"])
@pytest.mark.parametrize("tracked", [False, True])
def test_a_cut_connection_refreshes_once(mapped, life, table, kind, tracked):
    if not tracked:
        # Every other job has a tracking id first: this is the one before.
        mapped.dataset("others", seed=2)
        assert mapped.create("others", another={"understood": "on"}).state == "done"
    life.amazon.control("POST", "pace", job_tracking=5)
    life.amazon.rule("amc:refreshCollaborationIdMappingTable", kind=kind)
    mapped.start("refresh", table)
    life.answer("refresh", "unchanged", anyway="on")
    life.submit("refresh")
    life.work("refresh", tries=4)
    life.amazon.control("POST", "clock", advance=60)
    step = mapped.finish("refresh")
    assert step.state == "done", step.failure
    assert len(mapped.amc_jobs(table)) == 2 == table.jobs.count()


def test_what_others_refreshed_in_amc_counts(mapped, life, table):
    mapped.start("refresh", table)
    life.answer("refresh", "unchanged", anyway="on")
    path = f"/collaboration/idmappingtables/{table.table_id}/refresh"
    assert life.amc("POST", path).status_code == 200
    life.submit("refresh")
    step = mapped.finish("refresh")
    assert step.state == "failed"
    table.refresh_from_db()
    assert table.refreshed_at is not None and table.jobs.count() == 2


@pytest.mark.django_db(transaction=True)
def test_of_two_who_refresh_at_once_one_does(tmp_path, monkeypatch, life):
    now = timezone.now()
    instance = life.made()
    table = MappingTable.objects.create(instance=instance, table_id="t", name="t", queryable=True, seen_at=now)

    def begin() -> Run:
        return mapping.start(person=life.analyst, table=table, procedure="refresh", now=timezone.now())

    results = in_threads(4, begin, tmp_path, monkeypatch)
    assert sum(isinstance(one, Run) for one in results) == 1
    assert sum(isinstance(one, Refused) for one in results) == 3


def test_the_claim_is_in_the_database(mapped, life, table):
    now = timezone.now()
    first = mapped.start("refresh", table)
    claim_refresh(table, first, now)
    claim_refresh(table, first, now)
    other = Run.objects.create(
        procedure="refresh", account=life.account, instance=life.instance, owner=life.analyst, started_at=now
    )
    with pytest.raises(Fix, match="Somebody else"):
        claim_refresh(table, other, now)
    # Given up without a refresh: free again.
    runs.run_cancel(person=life.analyst, run=first, now=now)
    claim_refresh(table, other, now)
    MappingTable.objects.update(refreshed_at=now, refresh_claim=None)
    with pytest.raises(Fix, match="was refreshed on"):
        claim_refresh(table, first, now + timedelta(days=13))
    claim_refresh(table, first, now + timedelta(days=14))


def test_the_schedule_refreshes_when_the_files_change_and_with_a_sign_off(mapped, life, table):
    now = timezone.now()
    assert mapping.set_policy(person=life.analyst, table=table, policy="when_changed", now=now)
    assert not mapping.set_policy(person=life.analyst, table=table, policy="when_changed", now=now)
    with pytest.raises(NotAllowed):
        mapping.set_policy(person=life.approver, table=table, policy="by_hand", now=now)
    mapping_looks.look(table.pk)
    assert not Run.objects.filter(procedure="refresh").exists()
    table.refresh_from_db()
    assert table.next_look_at > now and table.looked_at >= now
    change_a_file(mapped)
    mapping_looks.look(table.pk)
    request = Request.objects.get(state="open")
    assert request.step.key == "refresh" and request.asked_by == life.analyst
    # A second look, and a second clock, ask nobody twice.
    mapping_looks.look(table.pk)
    assert Run.objects.filter(procedure="refresh").count() == 1
    life.run = request.step.run
    life.approve(request)
    assert mapped.finish("refresh").state == "done"
    assert AuditEntry.objects.filter(act="mapping_table.scheduled").count() == 1
    # Changed again within the 14 days: at the earliest time allowed, not before.
    change_a_file(mapped)
    table.refresh_from_db()
    mapping_looks.look(table.pk, now=table.next_refresh_at - timedelta(hours=2))
    table.refresh_from_db()
    assert table.next_look_at == table.next_refresh_at
    assert Run.objects.filter(procedure="refresh").count() == 1
    # Whoever set it has lost the role: nobody is impersonated.
    life.analyst.roles.all().delete()
    mapping_looks.look(table.pk, now=table.next_refresh_at)
    assert Run.objects.filter(procedure="refresh").count() == 1
    assert not Notice.objects.filter(person=life.analyst, event__startswith="schedule").exists()


def test_a_newer_version_is_no_reason_to_refresh(mapped, life, table):
    """It lies elsewhere: a refresh would read the same files again, and use up the one of 14 days."""
    old = table.version
    DatasetVersion.objects.create(dataset=old.dataset, number=old.number + 1, state="ready", made_at=timezone.now())
    mapping.set_policy(person=life.analyst, table=table, policy="when_changed", now=timezone.now())
    mapping_looks.look(table.pk)
    table.refresh_from_db()
    assert changed_since(table) is False and not Run.objects.filter(procedure="refresh").exists()
    change_a_file(mapped)
    mapping_looks.look(table.pk)
    assert Run.objects.filter(procedure="refresh").count() == 1


def test_the_clock_puts_each_look_once(mapped, life, table, monkeypatch):
    put = []
    monkeypatch.setattr(mapping_looks, "put_look", lambda pk: bool(put.append(pk)) or True)
    now = timezone.now()
    assert mapping_looks.put_due_looks(now=now) == 0
    mapping.set_policy(person=life.analyst, table=table, policy="when_changed", now=now)
    assert [mapping_looks.put_due_looks(now=now), mapping_looks.put_due_looks(now=now)] == [1, 0]
    assert put == [table.pk]


def test_deletion_takes_the_name_and_a_second_person(mapped, life, table):
    AccountPolicy.objects.create(account=life.account, steps_without_approval=["delete-mapping-table", "refresh"])
    mapped.start("delete-mapping-table", table)
    for wrong in ({"typed": "Customers", "understood": "on"}, {"typed": "customers"}, {"typed": life.instance.name}):
        assert not life.form("delete-mapping-table", "confirm", **wrong).is_valid()
    life.answer("delete-mapping-table", "confirm", typed="customers", understood="on")
    life.amazon.rule("amc:deleteCollaborationIdMappingTable", kind="cut_after")
    request = life.ask("delete-mapping-table")
    assert request is not None
    life.approve(request)
    step = life.work("delete-mapping-table")
    assert step.state == "done", step.failure
    table.refresh_from_db()
    assert table.deleted_at and not table.queryable and mapped.amc_tables() == []
    for procedure in mapping.OF_A_TABLE:
        with pytest.raises(Refused, match="no longer has this table"):
            mapping.start(person=life.analyst, table=table, procedure=procedure, now=timezone.now())


def test_replacing_has_a_table_to_query_all_the_time(mapped, life, table):
    mapped.dataset("newer", seed=5)
    mapped.start("replace-dataset", table)
    assert life.work("mapping-look").state == "done"
    life.answer("mapping-table", "name", name="customers_2")
    life.submit("mapping-table")
    assert life.step("replace-check").state == "blocked"
    assert mapped.finish("mapping-table").state == "done"
    assert all(one["queryable"] for one in mapped.amc_tables()) and len(mapped.amc_tables()) == 2
    assert life.work("replace-check").state == "done", life.step("replace-check").failure
    question = life.form("delete-replaced", "confirm")
    shown = dict(type(question).becomes(question.situation, {}))
    assert all("of the customers matched" in text for text in shown.values()) and len(shown) == 2
    life.answer("delete-replaced", "confirm", typed="customers", understood="on")
    life.submit("delete-replaced")
    assert life.work("delete-replaced").state == "done"
    assert [one["name"] for one in mapped.amc_tables()] == ["customers_2"]
    life.run.refresh_from_db()
    assert life.run.ended_at is not None


def test_no_room_beside_five(mapped, life, table):
    now = timezone.now()
    MappingTable.objects.bulk_create(
        MappingTable(instance=life.instance, table_id=str(n), name=f"t{n}", seen_at=now) for n in range(4)
    )
    with pytest.raises(Refused, match="no room"):
        mapping.start(person=life.analyst, table=table, procedure="replace-dataset", now=now)


def test_a_table_of_a_collaboration_that_is_being_left_rests(mapped, life, table):
    life.begin("leave")
    with pytest.raises(Refused, match="Leaving the collaboration is under way"):
        mapping.start(person=life.analyst, table=table, procedure="refresh", now=timezone.now())


def test_where_the_portal_may_not_look_nothing_is_said_of_the_files(mapped, life, table):
    life.account.aws_connections.update(state="disabled")
    MappingTable.objects.update(input_digest="", looked_at=None)
    mapping_looks.look(table.pk)
    table.refresh_from_db()
    assert table.looked_at is None
    assert refresh(mapped, life, table).state == "done"
    assert MappingJob.objects.first().input_digest == ""
    assert aws(life.amazon.url, PRIMARY, "s3")
