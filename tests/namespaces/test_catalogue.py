"""The Glue tables of the prepared files, and the guide's check of them in Athena."""

import json

import pytest
from django.utils import timezone

from onboarding.clients import athena
from onboarding.engine.situations import situation_of
from onboarding.guide.catalogue import Catalogue, table_input
from onboarding.guide.differences import comparisons
from onboarding.guide.prepared import prepared
from onboarding.models import AuditEntry, CallRecord, LogLine
from tests.join.conftest import PRIMARY, aws
from tests.namespaces.conftest import BUCKET, DATASET, HEADER, ROWS, SECRETS

pytestmark = pytest.mark.django_db
COLUMNS = ["customer_id", "firstname", "lastname", "email", "phone", "zip", "country", "email_2", "tcf"]


@pytest.fixture
def ready(naming):
    naming.ready("catalogue")
    return naming


def glue_table(naming, url: str, *, name="crm_v1_identity", columns=None, **changes) -> None:
    """Somebody makes a Glue table by hand."""
    glue = aws(url, PRIMARY, "glue")
    glue.create_database(DatabaseInput={"Name": "amc_crm"})
    made = table_input(prepared(situation_of(naming.run)).tables[0], name, naming.run.pk)
    made["StorageDescriptor"] |= changes
    if columns is not None:
        made["StorageDescriptor"]["Columns"] = [{"Name": one, "Type": "string"} for one in columns]
    glue.create_table(DatabaseName="amc_crm", TableInput=made)


def test_tables_are_made_from_the_manifest_and_read_by_athena(ready, amazon):
    step = ready.do("catalogue")
    assert step.state == "done", step.failure
    table = aws(amazon.url, PRIMARY, "glue").get_table(DatabaseName="amc_crm", Name="crm_v1_identity")["Table"]
    columns = table["StorageDescriptor"]["Columns"]
    assert [one["Name"] for one in columns] == [one["name"] for one in ready.output["tables"][0]["columns"]]
    assert sorted(one["Name"] for one in columns) == sorted(COLUMNS)
    assert {one["Type"] for one in columns} == {"string"}
    assert table["StorageDescriptor"]["Location"] == f"s3://{BUCKET}/{DATASET}/v1/identity/"
    asked = amazon.exchanges("athena:StartQueryExecution")
    assert len(asked) == 1
    sent = asked[0]["request_body"]
    assert sent["QueryString"] == 'SELECT * FROM "amc_crm"."crm_v1_identity" limit 10'
    assert sent["ResultConfiguration"] == {"OutputLocation": f"s3://{BUCKET}/uploads/athena/"}
    (shown,) = Catalogue().exhibits(situation_of(step.run))
    assert shown.title == "amc_crm.crm_v1_identity: Athena read 2 rows"
    assert {line.verdict for line in shown.lines} == {"The same"}


def test_no_value_is_kept(ready, amazon, caplog):
    ready.change(columns=ready.output["tables"][0]["columns"])
    assert ready.do("catalogue").state == "done"
    kept = json.dumps(list(CallRecord.objects.values_list("output", flat=True)))
    kept += "".join(LogLine.objects.values_list("text", flat=True)) + caplog.text
    kept += json.dumps(list(AuditEntry.objects.values_list("details", flat=True)))
    record = CallRecord.objects.get(key="counted-1").output
    assert set(record) == {"columns", "rows"} and record["rows"] == 2
    assert "c1" not in json.dumps(record)
    for secret in (*SECRETS, ROWS[0][8]):
        assert secret not in kept
    # The result is there, in the customer's own bucket alone.
    s3 = aws(amazon.url, PRIMARY, "s3")
    (result,) = [one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET, Prefix="uploads/athena/")["Contents"]]
    assert ROWS[0][0] in s3.get_object(Bucket=BUCKET, Key=result)["Body"].read().decode()


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("HIVE_BAD_DATA: Error parsing field value 'ann@example.com' for field 3", "HIVE_BAD_DATA"),
        ("INVALID_CAST_ARGUMENT: Cannot cast 'ann' to bigint", "INVALID_CAST_ARGUMENT"),
        ("cannot parse ann@example.com", "Athena gave a reason that may quote a value"),
    ],
)
def test_a_reason_that_may_quote_a_value_is_its_code(said, kept):
    answer = {"QueryExecution": {"Status": {"State": "FAILED", "StateChangeReason": said,
              "AthenaError": {"ErrorMessage": said}}}}  # fmt: skip
    told = json.dumps(athena.kept("GetQueryExecution", answer))
    assert kept in told and "ann" not in told


def test_the_command_line_keeps_the_same():
    import jmespath

    rows = [{"Data": [{"VarCharValue": "email"}]}, {"Data": [{"VarCharValue": SECRETS[0]}]}, {"Data": [{}]}]
    info = [{"Name": "email", "Type": "varchar", "Label": "email"}]
    answer = {"ResultSet": {"Rows": rows, "ResultSetMetadata": {"ColumnInfo": info}}}
    kept = athena.kept("GetQueryResults", answer)
    assert kept == {"columns": [{"Name": "email", "Type": "varchar"}], "rows": 2}
    assert jmespath.search(athena.QUERIES["GetQueryResults"], answer) == kept


def test_a_crawler_makes_the_tables(ready, amazon):
    step = ready.do("catalogue", how={"how": "crawler"})
    assert step.state == "done", step.failure
    glue = aws(amazon.url, PRIMARY, "glue")
    assert [one["Name"] for one in glue.get_tables(DatabaseName="amc_crm")["TableList"]] == ["crm_v1_identity"]
    assert len(amazon.exchanges("glue:StartCrawler")) == 1
    (role,) = aws(amazon.url, PRIMARY, "iam").list_roles(PathPrefix="/service-role/")["Roles"]
    assert role["RoleName"] == "amc-cleanrooms-crawler-crm-amctest1"


def test_a_crawler_needs_names_that_it_would_give(ready):
    ready.step("source-role")
    from onboarding.guide.catalogue import HowToCatalogue
    from onboarding.models import Step

    Step.objects.filter(run=ready.run, key="source-role").update(
        answers={"tables": {"database": "amc_crm", "tables": "people"}}
    )
    form = HowToCatalogue({"how": "crawler"}, situation=situation_of(ready.run))
    assert not form.is_valid() and "calls a table after its folder" in str(form.errors)


def test_a_table_that_exists_is_used_in_any_order_of_columns_for_parquet(ready, amazon):
    glue_table(ready, amazon.url, columns=sorted(COLUMNS), Location=f"s3://{BUCKET}/{DATASET}/v1/identity")
    step = ready.do("catalogue", how={"how": "existing"})
    assert step.state == "done", step.failure
    assert "made" not in {one.outcome for one in step.calls.exclude(key__startswith="check-")}


@pytest.mark.parametrize(
    ("change", "verdicts"),
    [
        (lambda names: [one.replace("firstname", "first_name") for one in names], {"Missing"}),
        (lambda names: names[:-1], {"Missing"}),
        (lambda names: [*names, "more"], {"Not wanted"}),
    ],
)
def test_other_columns_are_shown_column_by_column(ready, amazon, change, verdicts):
    names = [one["name"] for one in ready.output["tables"][0]["columns"]]
    glue_table(ready, amazon.url, columns=change(names))
    step = ready.do("catalogue", how={"how": "existing"})
    assert (step.state, step.failure["code"]) == ("failed", "Different")
    (shown,) = comparisons(step.failure["details"]["differences"])
    assert {line.verdict for line in shown.lines} - {"The same"} == verdicts
    assert amazon.exchanges("athena:StartQueryExecution") == []


def test_a_table_of_the_same_name_with_other_columns_is_not_overwritten(ready, amazon):
    glue_table(ready, amazon.url, columns=["customer_id", "email"])
    step = ready.do("catalogue")
    assert (step.state, step.failure["code"]) == ("failed", "Different")
    (shown,) = comparisons(step.failure["details"]["differences"])
    assert shown.lines[0].same and {line.verdict for line in shown.lines[1:]} >= {"Missing", "Another order"}


@pytest.mark.parametrize(
    ("location", "words"),
    [
        (f"s3://{BUCKET}/{DATASET}/v1/identity/part-00001.parquet", "points at a file, not at the folder"),
        (f"s3://{BUCKET}/elsewhere/", "points at another place"),
    ],
)
def test_another_location_is_refused(ready, amazon, location, words):
    glue_table(ready, amazon.url, Location=location)
    step = ready.do("catalogue", how={"how": "existing"})
    assert words in step.failure["what"]
    assert amazon.exchanges("athena:StartQueryExecution") == []


@pytest.mark.parametrize("order", ["header", "other", "case", "no header"])
def test_for_csv_order_case_and_header_row_count(ready, amazon, order):
    s3 = aws(amazon.url, PRIMARY, "s3")
    lines = "\n".join(",".join(row) for row in [HEADER, *ROWS]) + "\n"
    s3.put_object(Bucket=BUCKET, Key="csv/people.csv", Body=lines.encode())
    kinds = ["key", "first_name", "last_name", "email", "email", "phone", "zip", "country", "consent"]
    columns = [{"name": name, "kind": kind, "hashed": False} for name, kind in zip(HEADER, kinds, strict=True)]
    ready.change(format="CSV", location=f"s3://{BUCKET}/csv/", columns=columns)
    names = {"other": sorted(HEADER), "case": [HEADER[0].upper(), *HEADER[1:]]}.get(order, HEADER)
    if order == "header":
        step = ready.do("catalogue")
        assert step.state == "done", step.failure
        assert CallRecord.objects.get(key="counted-1").output["rows"] == 2
        return
    glue_table(ready, amazon.url, columns=names)
    if order == "no header":
        glue = aws(amazon.url, PRIMARY, "glue")
        table = table_input(prepared(situation_of(ready.run)).tables[0], "crm_v1_identity", "x")
        table["Parameters"].pop("skip.header.line.count")
        glue.update_table(DatabaseName="amc_crm", TableInput=table)
    step = ready.do("catalogue", how={"how": "existing"})
    assert (step.state, step.failure["code"]) == ("failed", "Different")
    if order == "no header":
        assert "header row as data" in step.failure["what"]
        return
    (shown,) = comparisons(step.failure["details"]["differences"])
    verdicts = {line.verdict for line in shown.lines}
    assert ("Upper and lower case differ" if order == "case" else "Another order") in verdicts


def test_a_query_that_athena_cannot_run_says_so_and_runs_again(ready, amazon):
    s3 = aws(amazon.url, PRIMARY, "s3")
    (part,) = [one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET)["Contents"] if one["Key"].endswith(".parquet")]
    body = s3.get_object(Bucket=BUCKET, Key=part)["Body"].read()
    s3.put_object(Bucket=BUCKET, Key=part, Body=b"ann@example.com is no parquet")
    step = ready.do("catalogue")
    assert step.state == "failed"
    assert step.failure["what"] == "Athena can't read the table amc_crm.crm_v1_identity."
    assert "HIVE_BAD_DATA" in step.failure["why"]
    s3.put_object(Bucket=BUCKET, Key=part, Body=body)
    from onboarding.services import runs

    runs.try_again(person=ready.analyst, step=step, now=timezone.now())
    assert ready.work("catalogue").state == "done"
    assert len(amazon.exchanges("athena:StartQueryExecution")) == 2


def test_an_empty_folder_is_found(ready, amazon):
    s3 = aws(amazon.url, PRIMARY, "s3")
    for one in s3.list_objects_v2(Bucket=BUCKET)["Contents"]:
        s3.delete_object(Bucket=BUCKET, Key=one["Key"])
    step = ready.do("catalogue")
    assert (step.state, step.failure["code"]) == ("failed", "NoRows")


@pytest.mark.parametrize("kind", ["cut_after", "throttle"])
def test_trouble_at_athena_reads_once(ready, amazon, kind):
    amazon.rule("athena:StartQueryExecution", kind=kind, **({"retry_after": 0} if kind == "throttle" else {}))
    assert ready.do("catalogue").state == "done"
    tokens = {one["request_body"]["ClientRequestToken"]
              for one in amazon.exchanges("athena:StartQueryExecution")}  # fmt: skip
    assert len(tokens) == 1
    s3 = aws(amazon.url, PRIMARY, "s3")
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="uploads/athena/")["KeyCount"] == 1
