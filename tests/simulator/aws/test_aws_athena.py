"""Athena reads what lies in S3; crawlers find it."""

import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

CUSTOMER = "123456789012"


@pytest.fixture
def query(aws):
    aws.bucket("athena-bucket")
    athena = aws.client("athena")

    def run(text, client=athena, **more):
        started = client.start_query_execution(
            QueryString=text, ResultConfiguration={"OutputLocation": "s3://athena-bucket/out/"}, **more
        )["QueryExecutionId"]
        status = client.get_query_execution(QueryExecutionId=started)["QueryExecution"]["Status"]
        if status["State"] != "SUCCEEDED":
            return status["StateChangeReason"]
        rows = client.get_query_results(QueryExecutionId=started)["ResultSet"]["Rows"]
        return [[field.get("VarCharValue") for field in row["Data"]] for row in rows]

    return run


def table(aws, name, columns, serde, bucket="data-bucket", parameters=None):
    aws.client("glue").create_table(
        DatabaseName="amc",
        TableInput={
            "Name": name,
            "StorageDescriptor": {
                "Columns": [{"Name": n, "Type": t} for n, t in columns],
                "Location": f"s3://{bucket}/{name}/",
                "SerdeInfo": {"SerializationLibrary": serde},
            },
            "Parameters": parameters or {},
        },
    )


def test_the_guides_query_on_csv(aws, query):
    aws.identity_table()
    assert query('SELECT * FROM "amc"."identity" limit 10;') == [
        ["userid", "firstname", "email"],
        ["userid0", "firstname0", "email0"],
        ["userid1", "firstname1", "email1"],
        ["userid2", "firstname2", "email2"],
    ]
    assert query("SELECT count(*) AS n FROM identity", QueryExecutionContext={"Database": "amc"}) == [["n"], ["3"]]
    catalogued = 'SELECT userid FROM "AwsDataCatalog"."amc"."identity" ORDER BY userid DESC LIMIT 1'
    assert query(catalogued) == [["userid"], ["userid2"]]


def test_quotes_blanks_nulls_and_gzip(aws, query):
    aws.identity_table()
    s3 = aws.client("s3")
    s3.put_object(Bucket="data-bucket", Key="identity/part.csv", Body=b'userid,firstname,email\n"a ""b"", c",,x\n')
    s3.put_object(
        Bucket="data-bucket", Key="identity/more.csv.gz", Body=gzip.compress(b"userid,firstname,email\nz,y,x\n")
    )
    s3.put_object(Bucket="data-bucket", Key="identity/_SUCCESS", Body=b"not data")
    rows = query('SELECT * FROM "amc"."identity" ORDER BY userid')
    assert rows[1:] == [['a "b", c', None, "x"], ["z", "y", "x"]]


def test_parquet(aws, query):
    aws.identity_table()
    body = io.BytesIO()
    pq.write_table(pa.table({"extra": [1, 2], "amount": pa.array([1, None], pa.int64()), "who": ["é", "b"]}), body)
    aws.client("s3").put_object(Bucket="data-bucket", Key="events/x.parquet", Body=body.getvalue())
    serde = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
    table(aws, "events", [("who", "string"), ("amount", "bigint"), ("absent", "double")], serde)
    assert query('SELECT * FROM "amc"."events" LIMIT 10') == [
        ["who", "amount", "absent"],
        ["é", "1", None],
        ["b", None, None],
    ]
    table(aws, "wrong", [("who", "bigint")], serde)
    aws.client("s3").put_object(Bucket="data-bucket", Key="wrong/x.parquet", Body=body.getvalue())
    assert query('SELECT * FROM "amc"."wrong"').startswith("HIVE_BAD_DATA")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('SELECT * FROM "amc"."nothing" LIMIT 10', "TABLE_NOT_FOUND"),
        ('SELECT * FROM "nowhere"."identity" LIMIT 10', "SCHEMA_NOT_FOUND"),
        ('SELECT nothing FROM "amc"."identity"', "COLUMN_NOT_FOUND"),
        ("SELECT FROM WHERE", "SYNTAX_ERROR"),
        ("SELECT * FROM read_csv('/etc/passwd')", "NOT_SUPPORTED"),
        ("SELECT * FROM '/etc/passwd'", "NOT_SUPPORTED"),
        ("DROP TABLE amc.identity", "NOT_SUPPORTED"),
    ],
)
def test_what_fails(aws, query, text, reason):
    aws.identity_table()
    assert query(text).startswith(reason)


def test_values_that_are_no_numbers(aws, query):
    aws.identity_table()
    table(aws, "numbers", [("a", "bigint")], "org.apache.hadoop.hive.serde2.OpenCSVSerde")
    aws.client("s3").put_object(Bucket="data-bucket", Key="numbers/x.csv", Body=b"1\nabc\n")
    assert query('SELECT * FROM "amc"."numbers"').startswith("HIVE_BAD_DATA")


def test_output_location(aws, query, refused):
    athena = aws.client("athena")
    error = refused(athena.start_query_execution, QueryString="SELECT 1")
    assert "No output location provided" in error["Error"]["Message"]
    started = athena.start_query_execution(
        QueryString="SELECT 1", ResultConfiguration={"OutputLocation": "s3://nobody-has-this/"}
    )
    started = {"QueryExecutionId": started["QueryExecutionId"]}
    status = athena.get_query_execution(**started)["QueryExecution"]["Status"]
    assert status["StateChangeReason"] == "Unable to verify/create output bucket nobody-has-this"
    assert refused(athena.get_query_results, **started)["Error"]["Code"] == "InvalidRequestException"
    assert refused(athena.get_query_execution, QueryExecutionId="x")["Error"]["Code"] == "InvalidRequestException"


def test_results_in_pages(aws, query):
    athena = aws.client("athena")
    started = athena.start_query_execution(
        QueryString="SELECT * FROM range(5) ORDER BY 1",
        ResultConfiguration={"OutputLocation": "s3://athena-bucket/"},
        ClientRequestToken="t" * 32,
    )
    again = athena.start_query_execution(
        QueryString="SELECT * FROM range(5) ORDER BY 1",
        ResultConfiguration={"OutputLocation": "s3://athena-bucket/"},
        ClientRequestToken="t" * 32,
    )
    assert started["QueryExecutionId"] == again["QueryExecutionId"]
    pages = athena.get_paginator("get_query_results").paginate(
        QueryExecutionId=started["QueryExecutionId"], PaginationConfig={"PageSize": 2}
    )
    rows = [row["Data"][0]["VarCharValue"] for page in pages for row in page["ResultSet"]["Rows"]]
    assert rows == ["range", "0", "1", "2", "3", "4"]


def test_a_crawler_finds_the_table(aws, query, refused):
    aws.identity_table()
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "glue.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
    aws.role("crawler", trust, [{"Effect": "Allow", "Action": ["s3:*", "glue:*"], "Resource": "*"}], path="/")
    glue = aws.client("glue")
    aws.client("s3").put_object(Bucket="data-bucket", Key="people/a.csv", Body=b"UserId;Email\n1;a@b.c\n")
    glue.create_crawler(
        Name="c", Role="crawler", DatabaseName="amc", Targets={"S3Targets": [{"Path": "s3://data-bucket/people/"}]}
    )
    glue.start_crawler(Name="c")
    crawler = glue.get_crawler(Name="c")["Crawler"]
    assert (crawler["State"], crawler["LastCrawl"]["Status"]) == ("READY", "SUCCEEDED")
    columns = glue.get_table(DatabaseName="amc", Name="people")["Table"]["StorageDescriptor"]["Columns"]
    assert [c["Name"] for c in columns] == ["userid", "email"]
    assert query('SELECT * FROM "amc"."people" LIMIT 10') == [["userid", "email"], ["1", "a@b.c"]]
    aws.client("iam").update_assume_role_policy(
        RoleName="crawler", PolicyDocument=json.dumps(trust).replace("glue.amazonaws.com", "s3.amazonaws.com")
    )
    glue.start_crawler(Name="c")
    assert glue.get_crawler(Name="c")["Crawler"]["LastCrawl"]["Status"] == "FAILED"
    assert refused(glue.start_crawler, Name="none")["Error"]["Code"] == "EntityNotFoundException"


def test_lake_formation_registrations(aws):
    lake = aws.client("lakeformation")
    assert "DataLakeAdmins" in lake.get_data_lake_settings()["DataLakeSettings"]
    lake.register_resource(ResourceArn="arn:aws:s3:::data-bucket", UseServiceLinkedRole=True)
    assert [r["ResourceArn"] for r in lake.list_resources()["ResourceInfoList"]] == ["arn:aws:s3:::data-bucket"]
    assert lake.list_permissions()["PrincipalResourcePermissions"] == []
    assert aws.client("lakeformation", "210987654321").list_resources()["ResourceInfoList"] == []
