"""Files too large for a worker: the plan for Athena, carried out by the twin of its statement."""

import io

import pyarrow.parquet as pq
import pytest
import sqlglot

from onboarding.guide import identity_athena, permissions
from onboarding.guide import render as rendering
from onboarding.identity import reference, trino
from onboarding.models import IdentityJob
from onboarding.selectors import datasets as selector
from onboarding.services import runs
from tests.datasets.conftest import BUCKET, as_csv, people
from tests.pages.conftest import text_of
from tests.simulated import browser

FOLDER = f"s3://{BUCKET}/exports/"


@pytest.fixture
def twin(monkeypatch):
    """The plan in the dialect of the twin: the local Amazon's Athena is DuckDB."""
    monkeypatch.setattr(trino, "Dialect", trino.DuckDb)


def describe(files, *places: str, rules: str = "amazon-ads-1") -> None:
    files.choose(*places)
    files.answer(files.KEY, "report", read="on")
    files.answer(files.KEY, "hashing", rules=rules)


def objection(files) -> str:
    step = files.step(files.KEY)
    return runs.step_of("onboard", files.KEY).objection(runs.situation_of(step.run))


def test_large_files_are_prepared_in_the_customers_account(files, settings, twin):
    files.before()
    settings.IDENTITY_WORKER_LIMIT_GB = 0
    rows = people(30)
    rows[7][0] = rows[6][0]
    rows[7][3] = "second@example.com"
    files.put("exports/1.csv", as_csv(rows[:10]))
    files.put("exports/2.csv", as_csv(rows[10:]))
    describe(files, FOLDER)
    request = files.submit(files.KEY)
    services = [(call["service"], call["operation"]) for call in request.plan]
    assert services == [
        ("identity", "same"),
        ("glue", "CreateDatabase"),
        ("glue", "CreateTable"),
        ("athena", "StartQueryExecution"),
        ("athena", "GetQueryExecution"),
        ("athena", "StartQueryExecution"),
        ("athena", "GetQueryExecution"),
        ("athena", "GetQueryResults"),
        ("identity", "collect"),
    ]
    step = files.work(files.KEY)
    assert step.state == "done", step.failure
    assert not IdentityJob.objects.filter(kind="prepare").exists()
    output = files.output()
    (table,) = output["tables"]
    assert (output["rows"], table["rows"], table["location"]) == (29, 29, f"s3://{BUCKET}/amc/customers/v1/customers/")
    (key,) = files.listed("amc/customers/")
    body = files.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    made = pq.read_table(io.BytesIO(body))
    assert made.column_names == [column["name"] for column in table["columns"]]
    assert len(made.column_names) <= 25
    merged = next(row for row in made.to_pylist() if row["email_2"])
    assert {merged["email"], merged["email_2"]} == {
        reference.hashed(address) for address in ("c6@example.com", "second@example.com")
    }
    assert {"name": "email_2", "kind": "email", "hashed": True} in table["columns"]
    version = files.version
    assert (version.state, version.rule_table) == ("ready", "amazon-ads-1")
    assert version.manifest["tables"][0]["files"] == [
        {"path": key.removeprefix("amc/customers/v1/"), "bytes": len(body)}
    ]
    # One row is missing for its key's sake; which of the reasons it was nobody has counted.
    sums = dict(selector.made_of(version.manifest).sums)
    assert [sums.pop(label) for label in ("Rows read", "Rows written")] == [30, 29]
    assert [(label.partition(":")[0], rows) for label, rows in sums.items()] == [
        ("Left out, or made one with others of their key", 1)
    ]


def test_what_athena_can_not_do_is_said_before_anything_is_asked(files, settings):
    files.before()
    settings.IDENTITY_WORKER_LIMIT_GB = 0
    files.put("exports/1.csv", as_csv(people(5)))
    describe(files, f"{FOLDER}1.csv")
    assert "choose that folder" in objection(files)
    describe(files, FOLDER, rules="clear")
    assert "writes hashes only" in objection(files)
    files.put("mixed/1.csv", as_csv(people(5)))
    files.put("mixed/2.csv", as_csv(people(5)).replace(b",", b";"))
    describe(files, f"s3://{BUCKET}/mixed/")
    assert "one format" in objection(files)
    settings.IDENTITY_WORKER_LIMIT_GB = 100
    assert objection(files) == ""


def test_files_that_have_changed_are_not_handed_to_athena(files, settings):
    files.before()
    settings.IDENTITY_WORKER_LIMIT_GB = 0
    files.put("exports/1.csv", as_csv(people(5)))
    describe(files, FOLDER)
    files.put("exports/2.csv", as_csv(people(5)))
    files.submit(files.KEY)
    step = files.work(files.KEY)
    assert (step.state, step.failure["code"]) == ("failed", "FilesChanged")


def test_the_roles_may_do_it_and_people_can(files, settings):
    needed = {need.action for call in identity_athena.sample() for need in permissions.needs_of(call)}
    assert {"athena:StartQueryExecution", "glue:CreateTable", "glue:CreateDatabase", "s3:PutObject"} <= needed
    assert needed <= {need.action for need in permissions.needs(["read", "change"])}
    files.before()
    settings.IDENTITY_WORKER_LIMIT_GB = 0
    files.put("exports/1.csv", as_csv(people(5)))
    describe(files, FOLDER)
    step = files.step(files.KEY)
    calls = runs.step_of("onboard", files.KEY).full_plan(runs.situation_of(step.run))
    contents = rendering.contents(calls, files.account, "Prepare")
    assert "aws athena start-query-execution" in contents["run.sh"]
    assert any("CREATE TABLE" in text for text in contents.values())
    # What is signed is the very statement, and Trino's grammar takes it.
    request = files.submit(files.KEY)
    statement = next(call for call in request.plan if call["key"] == "query")["params"]["QueryString"]
    assert isinstance(sqlglot.parse_one(statement, read="trino"), sqlglot.exp.Create)
    assert "CREATE TABLE" in text_of(browser(files.approver).get(f"/requests/{request.pk}/"))
