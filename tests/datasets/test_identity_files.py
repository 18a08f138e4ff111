"""The step of the identity files, from the choice of files to the tables, against the local Amazon."""

import hashlib
import io
import json
import shlex
from datetime import timedelta

import pyarrow.parquet as pq
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from onboarding.engine import identity_jobs, pauses
from onboarding.guide import render as rendering
from onboarding.guide.identity_questions import report_of
from onboarding.identity import mapping as mappings
from onboarding.identity.command import _parser
from onboarding.models import DatasetVersion, IdentityJob, Pause
from onboarding.services import runs
from tests.datasets.conftest import BUCKET, HEADER, as_csv, people
from tests.join.conftest import aws


def test_files_become_tables(files):
    files.before()
    files.put("exports/1.csv", as_csv(people(30)))
    files.put("exports/2.csv", as_csv(people(50)[30:]))
    files.choose(f"s3://{BUCKET}/exports/")
    assert files.version.report["rows"] == 50
    step = files.prepare()
    assert step.state == "done", step.failure
    output = files.output()
    version = files.version
    assert output | {"tables": [], "forecast": {}} == {
        "state": "done",
        "dataset": "customers",
        "version": 1,
        "version_pk": version.pk,
        "aws_account_id": "111122223333",
        "bucket": BUCKET,
        "prefix": "amc",
        "rules": "amazon-ads-1",
        "country": "US",
        "rows": 50,
        "forecast": {},
        "tables": [],
    }
    assert output["forecast"]["matchable"] == 50
    (table,) = output["tables"]
    assert (table["name"], table["location"], table["format"], table["rows"]) == (
        "customers",
        f"s3://{BUCKET}/amc/customers/v1/customers/",
        "PARQUET",
        50,
    )
    assert table["columns"][0] == {"name": "customer_id", "kind": "key", "hashed": False}
    assert {"name": "email", "kind": "email", "hashed": True} in table["columns"]
    assert files.listed("amc/") == [
        "amc/customers/v1/customers/part-00000.parquet",
        "amc/customers/v1/manifest.json",
    ]
    body = files.s3.get_object(Bucket=BUCKET, Key="amc/customers/v1/customers/part-00000.parquet")["Body"].read()
    assert pq.read_table(io.BytesIO(body)).column_names == [column["name"] for column in table["columns"]]
    assert version.state == "ready" and version.rule_table == "amazon-ads-1"
    assert set(IdentityJob.objects.values_list("kind", "state")) == {
        ("look", "done"),
        ("check", "done"),
        ("prepare", "done"),
    }


def test_a_folder_of_many_files_takes_no_more_queries_than_one_of_few(files):
    files.before()

    def queries(count: int) -> int:
        for number in range(count):
            files.put(f"of-{count}/{number}.csv", as_csv(people(2)))
        files.answer(files.KEY, "dataset", name="customers")
        files.answer(files.KEY, "source", origin="s3")
        files.answer(files.KEY, "places", places=f"s3://{BUCKET}/of-{count}/")
        with CaptureQueriesContext(connection) as asked:
            files.jobs()
        assert files.version.files.count() == count
        return len(asked)

    assert queries(2) == queries(12)


def test_a_pause_holds_work_on_files_back(files):
    files.before()
    files.put("in/people.csv", as_csv(people(3)))
    files.answer(files.KEY, "dataset", name="customers")
    files.answer(files.KEY, "source", origin="s3")
    files.answer(files.KEY, "places", places=f"s3://{BUCKET}/in/")
    now = timezone.now()
    for target in (
        pauses.EVERYTHING,
        pauses.of_account(files.account.pk),
        pauses.of_login(files.account.connection_id),
    ):
        pause = Pause.objects.create(target=target, name="All", paused_at=now)
        assert identity_jobs.put_due(now) == 0
        files.jobs()
        assert IdentityJob.objects.get().state == "queued"
        pause.delete()
    assert identity_jobs.put_due(now) == 1
    files.jobs()
    assert IdentityJob.objects.get().state == "done"


def test_work_whose_run_is_gone_is_left_alone(files):
    files.before()
    files.put("in/people.csv", as_csv(people(3)))
    files.answer(files.KEY, "dataset", name="customers")
    files.answer(files.KEY, "source", origin="s3")
    files.answer(files.KEY, "places", places=f"s3://{BUCKET}/in/")
    job = IdentityJob.objects.get()
    DatasetVersion.objects.update(run=None)
    assert identity_jobs.put_due(timezone.now()) == 0
    identity_jobs.work(job.pk, beside=False)
    job.refresh_from_db()
    assert (job.state, job.attempts) == ("queued", 0)


def failure_of(files, kind: str) -> dict:
    return IdentityJob.objects.filter(kind=kind).latest("pk").failure


def look_at(files, *places: str) -> dict:
    files.answer(files.KEY, "dataset", name="customers")
    files.answer(files.KEY, "source", origin="s3")
    files.answer(files.KEY, "places", places="\n".join(places))
    files.jobs()
    return failure_of(files, "look")


def test_files_that_can_not_be_used_say_why(files):
    files.before()
    files.put("in/empty.csv", b"")
    files.put("in/odd.bin", b"\x00\x01\x02" * 50)
    assert look_at(files, f"s3://{BUCKET}/in/empty.csv")["what"] == "A file can't be read."
    assert "neither CSV nor Parquet" in look_at(files, f"s3://{BUCKET}/in/odd.bin")["why"]
    assert look_at(files, f"s3://{BUCKET}/in/none.csv")["code"] == "404"
    other = aws(files.amazon.url, "444455556666", "s3")
    other.create_bucket(Bucket="somebody-elses")
    other.put_object(Bucket="somebody-elses", Key="people.csv", Body=as_csv(people(3)))
    refused = look_at(files, "s3://somebody-elses/people.csv")
    assert (refused["code"], refused["who"]) == ("403", "AWS administrator")


def test_mappings_that_can_not_be_are_refused(files):
    files.before()
    files.put("in/people.csv", as_csv(people(5)))
    look_at(files, f"s3://{BUCKET}/in/people.csv")
    step = files.step(files.KEY)
    situation = runs.situation_of(step.run)
    kind = runs.question_of(runs.step_of("onboard", files.KEY), situation, "columns")
    for columns, words in (
        ("email=email", "which column is the key"),
        ("customer_id=key, email=key, phone=phone", "Only one column"),
        ("customer_id=key", "nothing to match by"),
        ("customer_id=key, nose=email", "no column called nose"),
        ("customer_id=key, email=mail", "no kind of column"),
    ):
        form = kind({"columns": columns}, situation=situation)
        assert not form.is_valid()
        assert words.lower() in str(form.errors).lower() or words == "nothing to match by"
    assert kind({"columns": "guessed"}, situation=situation).is_valid()


def refused(files, slug: str, **values) -> str:
    """What is said at a question's field; empty if the answer is taken."""
    situation = runs.situation_of(files.step(files.KEY).run)
    form = runs.question_of(runs.step_of("onboard", files.KEY), situation, slug)(values, situation=situation)
    return "" if form.is_valid() else str(form.errors)


def test_what_cannot_be_prepared_is_said_before_anybody_signs(files):
    """A country that no row names, values of both sorts left in clear, two columns of one name, rows without a key."""
    files.before()
    files.put("in/no-country.csv", as_csv([*people(3), *people(2, customer_id="d", country="")]))
    files.choose(f"s3://{BUCKET}/in/no-country.csv", country="")
    files.answer(files.KEY, "report", read="on")
    assert "2 rows name no country" in refused(files, "hashing", rules="amazon-ads-1")
    assert refused(files, "hashing", rules="clear") == ""

    mixed = people(3)
    mixed[1][HEADER.index("email")] = hashlib.sha256(b"x").hexdigest()
    files.put("in/mixed.csv", as_csv(mixed))
    files.choose(f"s3://{BUCKET}/in/mixed.csv")
    files.answer(files.KEY, "report", read="on")
    assert "hashed already and some are clear: email." in refused(files, "hashing", rules="clear")
    assert refused(files, "hashing", rules="amazon-ads-1") == ""

    files.put("in/twice.csv", as_csv([[*row, "x"] for row in people(3)], [*HEADER, "email"]))
    files.choose(f"s3://{BUCKET}/in/twice.csv")
    assert "Several columns have the same name" in refused(files, "report", read="on")
    files.put("in/aside.csv", as_csv([[*row, "x", "y"] for row in people(3)], [*HEADER, "note", "note"]))
    files.choose(f"s3://{BUCKET}/in/aside.csv")
    assert refused(files, "report", read="on") == ""

    files.put("two/a.csv", as_csv(people(2)))
    files.put("two/b.csv", as_csv([row[1:] for row in people(3)], HEADER[1:]))
    files.choose(f"s3://{BUCKET}/two/")
    situation = runs.situation_of(files.step(files.KEY).run)
    report = report_of(situation, situation.answers[files.KEY])
    assert (report["rows"], report["usable_rows"]) == (5, 2)


@pytest.mark.parametrize("first", ["c1,Kari,Nordmarker,Storgata 1,Oslo,NO", "c1,Kari,Nordmarker"])
@pytest.mark.parametrize("beside", [False, True])
def test_a_first_row_of_data_is_kept_nowhere(files, first, beside):
    files.before()
    files.put("in/1.csv", f"{first}\n{first.replace('c1', 'c2')}\n".encode())
    if beside:
        files.put("in/0.csv", as_csv(people(2)))
    failure = look_at(files, f"s3://{BUCKET}/in/")
    assert failure["code"] == "HeaderMissing" and "/in/1.csv" in failure["why"]
    assert files.version.overview in (None, {})
    assert "Nordmarker" not in json.dumps([failure, *IdentityJob.objects.values_list("failure", flat=True)])


def test_going_back_to_earlier_files_shows_what_they_hold(files):
    files.before()
    files.put("in/a.csv", as_csv(people(4)))
    files.put("in/b.csv", as_csv(people(7)))
    rows = []
    for name in "aba":
        files.choose(f"s3://{BUCKET}/in/{name}.csv")
        step = files.step(files.KEY)
        situation = runs.situation_of(step.run)
        rows.append(report_of(situation, situation.answers[files.KEY])["rows"])
    assert rows == [4, 7, 4]


def test_files_that_change_after_the_check_are_not_prepared(files):
    files.before()
    files.put("in/people.csv", as_csv(people(5)))
    files.choose(f"s3://{BUCKET}/in/people.csv")
    files.put("in/people.csv", as_csv(people(6)))
    step = files.prepare()
    assert (step.state, step.failure["code"]) == ("failed", "FilesChanged")
    assert files.listed("amc/") == []


def test_nobody_prepares_what_was_not_approved(files):
    files.before()
    files.put("in/people.csv", as_csv(people(5)))
    files.choose(f"s3://{BUCKET}/in/people.csv")
    files.answer(files.KEY, "report", read="on")
    files.answer(files.KEY, "hashing", rules="clear")
    files.submit(files.KEY)
    files.work(files.KEY, tries=2)
    files.approver.roles.all().delete()
    files.jobs()
    step = files.work(files.KEY)
    assert (step.state, step.failure["code"]) == ("failed", "NotApproved")
    assert files.listed("amc/") == []


def test_data_that_were_prepared_elsewhere_are_used_as_they_are(files):
    files.before("prepared")
    files.put("ready/people.csv", as_csv(people(4)))
    files.answer(files.KEY, "dataset", name="customers")
    files.answer(files.KEY, "places", places=f"s3://{BUCKET}/ready/")
    files.use_as_they_are()
    (table,) = files.output()["tables"]
    assert (table["location"], table["format"], table["rows"]) == (f"s3://{BUCKET}/ready/", "CSV", 4)
    assert {"name": "email", "kind": "email", "hashed": False} in table["columns"]
    assert files.version.state == "ready"


def test_a_worker_that_was_lost_is_followed_by_another(files):
    files.before()
    files.put("in/people.csv", as_csv(people(5)))
    files.choose(f"s3://{BUCKET}/in/people.csv")
    files.answer(files.KEY, "report", read="on")
    files.answer(files.KEY, "hashing", rules="amazon-ads-1")
    files.submit(files.KEY)
    files.work(files.KEY, tries=2)
    job = IdentityJob.objects.get(kind="prepare")
    now = timezone.now()
    lost = identity_jobs._claim(job.pk, "lost", now)
    assert lost is not None and identity_jobs._claim(job.pk, "second", now) is None
    # The lost one comes back after another has done it: it finds that the row is no longer its own.
    later = now + timedelta(hours=1)
    identity_jobs.work(job.pk, now=lambda: later, beside=False)
    job.refresh_from_db()
    assert (job.state, job.attempts) == ("done", 2)
    before = files.listed("amc/")
    carried = identity_jobs._Carried(lost, timezone.now)
    with pytest.raises(identity_jobs.Taken), carried._done(manifest=None):
        pass
    assert files.version.manifest is not None and files.listed("amc/") == before


def test_the_same_as_a_command_of_the_library(files):
    files.before()
    files.put("in/people.csv", as_csv(people(5)))
    files.choose(f"s3://{BUCKET}/in/people.csv")
    files.answer(files.KEY, "report", read="on")
    files.answer(files.KEY, "hashing", rules="amazon-ads-1")
    step = files.step(files.KEY)
    calls = runs.step_of("onboard", files.KEY).full_plan(runs.situation_of(step.run))
    text = rendering.commands(calls, files.account)[0].text
    words = shlex.split(text.replace("\\\n", " "))
    assert words[:4] == ["python", "-m", "onboarding.identity", "prepare"]
    options = _parser().parse_args(words[3:])
    assert (options.files, options.out) == ([f"s3://{BUCKET}/in/people.csv"], f"s3://{BUCKET}/amc/customers/v1")
    assert mappings.parse(options.columns)["email"] == "email"
    contents = rendering.contents(calls, files.account, "Prepare")
    assert "onboarding.identity prepare" in contents["run.sh"]
    assert not any(name.startswith("looks/") for name in contents)
