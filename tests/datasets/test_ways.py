"""The other ways through the wizard: tables of Glue, files used as they are, uploads, and what stops each of them."""

from __future__ import annotations

from django.utils import timezone

from onboarding.guide.identity_questions import ways_of
from onboarding.models import IdentityJob, SourceFile
from onboarding.services import identity_files, runs
from tests.datasets.conftest import BUCKET, HEADER, as_csv, people
from tests.join.conftest import PRIMARY, aws


def glue_table(files, location: str, **more) -> None:
    """A database `crm` with a table `people` over CSV files."""
    glue = aws(files.amazon.url, PRIMARY, "glue")
    glue.create_database(DatabaseInput={"Name": "crm"})
    glue.create_table(
        DatabaseName="crm",
        TableInput={
            "Name": "people",
            "StorageDescriptor": {
                "Columns": [{"Name": name, "Type": "string"} for name in HEADER],
                "Location": location,
                **more,
            },
        },
    )


def test_a_table_of_glue_is_looked_at_checked_and_used(files):
    files.before("glue")
    files.put("crm/people.csv", as_csv(people(6)))
    glue_table(files, f"s3://{BUCKET}/crm")
    files.answer(files.KEY, "dataset", name="customers")
    assert files.asked() == ["dataset", "glue", "columns", "country", "report"]
    files.answer(files.KEY, "glue", database="crm", table="people")
    files.use_as_they_are()
    (table,) = files.output()["tables"]
    assert (table["database"], table["glue_table"], table["location"]) == ("crm", "people", f"s3://{BUCKET}/crm/")
    assert (files.version.state, files.version.origin, table["rows"]) == ("ready", "glue", 6)
    # Nothing was written beside the files.
    assert files.listed() == ["crm/people.csv"]


def test_what_is_wrong_with_a_table_of_glue_is_said(files):
    files.before("glue")
    files.answer(files.KEY, "dataset", name="customers")
    said = []
    for database, location in (("nowhere", ""), ("crm", "jdbc:customers"), ("crm", f"s3://{BUCKET}/empty/")):
        if location:
            glue = aws(files.amazon.url, PRIMARY, "glue")
            if database in [one["Name"] for one in glue.get_databases()["DatabaseList"]]:
                glue.delete_table(DatabaseName="crm", Name="people")
                glue.delete_database(Name="crm")
            glue_table(files, location)
        # The same answer asks for nothing new; “Try again” does.
        files.answer(files.KEY, "glue", database=database, table="people")
        if len(said) == 2:
            identity_files.again(person=files.analyst, step=files.step(files.KEY), kind="look", now=timezone.now())
        files.jobs()
        job = IdentityJob.objects.latest("pk")
        said.append((job.state, job.failure["code"]))
    assert said == [("failed", "EntityNotFoundException"), ("failed", "NoLocation"), ("failed", "Unreadable")]


def test_files_that_are_used_as_they_are_have_to_be_in_shape(files):
    """What preparing here would put right stops files that are used as they are, each with what to do."""
    files.before("prepared")
    files.answer(files.KEY, "dataset", name="customers")
    situation = runs.situation_of(files.run)
    for places in (f"s3://{BUCKET}/ready/a.csv", "s3://elsewhere/ready/", f"s3://{BUCKET}/a/\ns3://{BUCKET}/b/"):
        form = runs.question_of(runs.step_of("onboard", files.KEY), situation, "places")(
            {"places": places}, situation=situation
        )
        assert not form.is_valid() and "one folder" in str(form.errors)
    twice = people(4)
    twice[1][0] = twice[0][0]
    for number, (body, said) in enumerate(
        (
            (as_csv(twice), "occurs in an earlier row"),
            (as_csv(people(2) + people(2, email="a" * 64)), "hashed already and some are clear"),
            (as_csv(people(2), [name.upper() for name in HEADER]), "upper-case"),
        )
    ):
        files.put(f"ready-{number}/people.csv", body)
        files.answer(files.KEY, "places", places=f"s3://{BUCKET}/ready-{number}/")
        files.describe()
        situation = runs.situation_of(files.step(files.KEY).run)
        form = runs.question_of(runs.step_of("onboard", files.KEY), situation, "report")(
            {"read": "on"}, situation=situation
        )
        assert not form.is_valid() and said in str(form.errors), form.errors


def test_uploaded_files_are_prepared_and_others_than_those_are_refused(files):
    files.before()
    assert ways_of(runs.situation_of(files.run)) == ["s3", "upload", "own"]
    files.answer(files.KEY, "dataset", name="customers")
    files.answer(files.KEY, "source", origin="upload")
    version = files.version
    assert version.origin == "upload"
    key = "amc/uploads/1/people.csv"
    files.put(key, as_csv(people(9)))
    SourceFile.objects.create(
        version=version, bucket=BUCKET, key=key, size=1, fingerprint="f", state="there", there_at=timezone.now()
    )
    files.answer(files.KEY, "places", places=f"s3://{BUCKET}/{key}")
    files.jobs()
    # What was uploaded is the row that is there already, with the size and the ETag that S3 says.
    file = SourceFile.objects.get()
    assert (file.fingerprint, file.size > 1, bool(file.etag)) == ("f", True, True)
    files.answer(files.KEY, "columns", columns="guessed")
    files.answer(files.KEY, "country", country="US")
    files.jobs()
    assert files.prepare("clear").state == "done"
    assert files.version.rule_table == "" and not files.output()["tables"][0]["columns"][3]["hashed"]


def test_another_way_forgets_the_places_of_the_one_before(files):
    files.before()
    files.put("in/people.csv", as_csv(people(3)))
    files.choose(f"s3://{BUCKET}/in/people.csv")
    files.answer(files.KEY, "source", origin="upload")
    assert "places" not in files.step(files.KEY).answers
    files.answer(files.KEY, "source", origin="own")
    assert files.asked() == ["dataset", "source"] and "columns" not in files.step(files.KEY).answers
