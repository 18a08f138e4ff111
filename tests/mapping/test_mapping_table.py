"""Creating an ID mapping table: what is offered, the job by either id, its numbers, crashes, failures."""

import json

import pytest
from django.utils import timezone

from onboarding.models import MappingJob, MappingTable
from onboarding.models.mapping import match_rate
from onboarding.services import mapping, runs
from onboarding.services.errors import Refused
from tests.mapping.conftest import HASHED

pytestmark = pytest.mark.django_db


def test_the_only_free_namespace_is_mapped_and_its_rate_is_the_samples(mapped, life):
    mapped.dataset("people", rows=4000)
    step = mapped.create("customers")
    assert step.state == "done", step.failure
    table = MappingTable.objects.get()
    job = table.jobs.get()
    assert (table.name, table.queryable, table.version.dataset.name) == ("customers", True, "people")
    assert (job.status, job.kind, job.run_id) == ("SUCCEEDED", "create", life.run.pk)
    assert [one["name"] for one in mapped.amc_tables()] == ["customers"]
    truth = mapped.truths["people"].must_match[HASHED].customers / mapped.truths["people"].customers
    assert abs(match_rate(job.metrics, job.forecast["customers"]) - truth) < 0.005
    assert job.input_digest and table.input_digest == job.input_digest


def test_it_asks_which_when_several_are_free_and_warns_from_the_second_on(mapped, life):
    first, second = mapped.dataset("people"), mapped.dataset("others", known=False, seed=2)
    mapped.another()
    form = life.form("mapping-table", "namespace")
    assert {value for value, _ in form.fields["arn"].choices} == {first, second}
    life.answer("mapping-table", "namespace", arn=second)
    with pytest.raises(KeyError):
        life.form("mapping-table", "another")
    for wrong in ("umlaut ä", "x" * 129, "a-b"):
        assert not life.form("mapping-table", "name", name=wrong).is_valid()
    life.answer("mapping-table", "name", name="others")
    life.submit("mapping-table")
    assert mapped.finish("mapping-table").state == "done", life.step("mapping-table").failure
    # The next one is the other by itself, and says what is given up.
    mapped.another()
    with pytest.raises(KeyError):
        life.form("mapping-table", "namespace")
    assert not life.form("mapping-table", "another").is_valid()
    assert not life.form("mapping-table", "name", name="others").is_valid()
    life.answer("mapping-table", "another", understood="on")
    life.answer("mapping-table", "name", name="customers")
    life.submit("mapping-table")
    assert mapped.finish("mapping-table").state == "done", life.step("mapping-table").failure
    assert {table.namespace.arn for table in MappingTable.objects.all()} == {first, second}
    # Every other job has a tracking id first.
    assert sorted(bool(job.tracking_id) for job in MappingJob.objects.all()) == [False, True]


@pytest.mark.parametrize("kind", ["cut_before", "cut_after"])
@pytest.mark.parametrize("skip", [0, 1])
def test_a_cut_connection_makes_one_table_with_one_job(mapped, life, kind, skip):
    mapped.dataset("people")
    if skip:
        mapped.dataset("before", seed=3)
        mapped.create("before", namespace={"arn": [n["idNamespaceArn"] for n in free(life)][1]})
    life.amazon.control("POST", "pace", job_tracking=5)
    life.amazon.rule("amc:createCollaborationIdMappingTable", kind=kind)
    mapped.another()
    if skip:
        life.answer("mapping-table", "another", understood="on")
    life.answer("mapping-table", "name", name="customers")
    life.submit("mapping-table")
    life.work("mapping-table", tries=4)
    life.amazon.control("POST", "clock", advance=60)
    step = mapped.finish("mapping-table")
    assert step.state == "done", step.failure
    table = MappingTable.objects.get(name="customers")
    assert len(mapped.amc_jobs(table)) == 1 == table.jobs.count()
    assert len(mapped.amc_tables()) == 1 + skip


def free(life):
    return life.amc("POST", "/collaboration/idnamespaces/list", maxResults=100).json()[
        "collaborationIdNamespaceAssociations"
    ]


def test_a_table_of_the_name_from_another_namespace_is_not_taken(mapped, life):
    first = mapped.dataset("people")
    mapped.dataset("others", known=False, seed=2)
    mapped.another()
    life.answer("mapping-table", "namespace", arn=first)
    life.answer("mapping-table", "name", name="customers")
    other = next(one["idNamespaceArn"] for one in free(life) if one["idNamespaceArn"] != first)
    life.amc("POST", "/collaboration/idmappingtables", idMappingTableName="customers", sourceIdNamespaceArn=other)
    life.submit("mapping-table")
    step = life.work("mapping-table")
    assert (step.state, step.failure["code"]) == ("failed", "Different")
    assert "another ID namespace" in step.failure["what"]


def test_a_failed_job_names_the_likely_cause_and_is_filled_anew(mapped, life):
    mapped.dataset("people")
    policy = mapped.client("iam").get_role_policy(RoleName="amc-cleanrooms-entityresolution", PolicyName="all")
    mapped.client("iam").delete_role_policy(RoleName="amc-cleanrooms-entityresolution", PolicyName="all")
    step = mapped.create("customers")
    assert step.state == "failed"
    assert "role of the ID namespace may not read" in step.failure["what"]
    assert step.failure["who"] == "AWS administrator"
    assert "Amazon says" in step.failure["why"]
    job = MappingJob.objects.get()
    assert (job.status, bool(job.error_details)) == ("FAILED", True)
    mapped.client("iam").put_role_policy(
        RoleName="amc-cleanrooms-entityresolution",
        PolicyName="all",
        PolicyDocument=json.dumps(policy["PolicyDocument"]),
    )
    runs.try_again(person=life.analyst, step=step, now=timezone.now())
    step = mapped.finish("mapping-table")
    assert step.state == "done", step.failure
    table = MappingTable.objects.get()
    assert [job.status for job in table.jobs.order_by("pk")] == ["FAILED", "SUCCEEDED"]
    assert len(mapped.amc_tables()) == 1
    assert table.refreshed_at is not None


def test_unknown_is_no_end(mapped, life, monkeypatch):
    from onboarding.clients.amc import AmcClient

    mapped.dataset("people")
    call, said = AmcClient.call, []

    def unknown_once(self, operation, params=None):
        answer = call(self, operation, params)
        if operation == "getCollaborationIdMappingJob" and not said:
            said.append(operation)
            return {"idMappingJob": {"jobId": answer["idMappingJob"]["jobId"], "status": "UNKNOWN"}}
        return answer

    monkeypatch.setattr(AmcClient, "call", unknown_once)
    mapped.another()
    life.answer("mapping-table", "name", name="customers")
    life.submit("mapping-table")
    life.work("mapping-table", tries=1)
    assert MappingJob.objects.get().status == "UNKNOWN"
    assert mapped.finish("mapping-table").state == "done"
    assert MappingJob.objects.get().status == "SUCCEEDED"


def test_five_are_the_most(mapped, life):
    arn = mapped.dataset("people")
    now = timezone.now()
    MappingTable.objects.bulk_create(
        MappingTable(instance=life.instance, table_id=str(n), name=f"t{n}", seen_at=now) for n in range(5)
    )
    with pytest.raises(Refused, match="most that AMC allows"):
        mapping.start_another(person=life.analyst, instance=life.instance, now=now)
    assert arn
