"""Guide 7, step 2: the Glue database and tables of the prepared files, and the guide's check in Athena."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import forms
from django.conf import settings

from onboarding.clients.failures import Fix
from onboarding.guide.data_bucket import uploads_folder, uploads_possible
from onboarding.guide.differences import SAME, Comparison, Line, columns_that_differ
from onboarding.guide.plan import Call, Look, Ref, Until
from onboarding.guide.prepared import (
    CSV,
    IdentityQuestion,
    IdentityStep,
    Prepared,
    Table,
    acts,
    glue_name,
    limited,
    member_name,
    prepared,
)
from onboarding.guide.roles import PATH, crawler_policy, crawler_trust, role_arn, role_name
from onboarding.guide.source_role import chosen_tables
from onboarding.guide.step import Situation
from onboarding.guide.verify import may_look, verification

KEY = "catalogue"
MANIFEST, CRAWL, EXISTING = "manifest", "crawler", "existing"
MOST_RESULTS = 11
"""Rows that the check of a table brings at most: the names of the columns and ten rows."""
# What Athena calls the type of a text.
_TEXT = frozenset({"varchar", "string", "char"})
_SERDES = {
    "PARQUET": {
        "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
        "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
        "SerdeInfo": {
            "SerializationLibrary": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
            "Parameters": {"serialization.format": "1"},
        },
    },
    "CSV": {
        "InputFormat": "org.apache.hadoop.mapred.TextInputFormat",
        "OutputFormat": "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
        "SerdeInfo": {
            "SerializationLibrary": "org.apache.hadoop.hive.serde2.OpenCSVSerde",
            "Parameters": {"separatorChar": ",", "quoteChar": '"', "escapeChar": "\\"},
        },
    },
}


def results_location(data: Prepared) -> str:
    """Where Athena writes what the check reads: among the files that the bucket's rule removes after some days."""
    return f"s3://{data.bucket}/{uploads_folder(data.prefix)}athena/"


def check_query(database: str, table: str) -> str:
    """The guide's check."""
    return f'SELECT * FROM "{database}"."{table}" limit 10'  # noqa: S608  # names have letters, digits and _ only  # nosec B608


def table_input(table: Table, name: str, run: object) -> dict[str, Any]:
    """`TableInput` of a Glue table over a prepared table's folder; every column is a string."""
    layout = CSV if table.format == CSV else "PARQUET"
    parameters = {"classification": layout.lower(), "typeOfData": "file", "amc-portal-run": str(run)}
    if layout == CSV:
        parameters["skip.header.line.count"] = "1"
    return {
        "Name": name,
        "TableType": "EXTERNAL_TABLE",
        "Parameters": parameters,
        "StorageDescriptor": {
            "Columns": [{"Name": column.name, "Type": "string"} for column in table.columns],
            "Location": table.location,
            **_SERDES[layout],
        },
    }


class HowToCatalogue(IdentityQuestion):
    """From the manifest, by a crawler, or what is there."""

    slug = "how"
    heading = "How should AWS Glue get to know the tables?"
    hint = "The portal knows every column from the prepared files, so it can make the tables itself."
    why = (
        "Entity Resolution reads identity data through Glue tables alone. Whichever way they come about, their columns "
        "are compared with the files' headers, and the guide's query is run on each."
    )
    how = forms.ChoiceField(
        label="Glue tables",
        choices=[
            (MANIFEST, "Make them from what was prepared"),
            (CRAWL, "Have an AWS Glue crawler make them"),
            (EXISTING, "Use tables that exist already"),
        ],
        widget=forms.RadioSelect,
        required=False,
    )

    def __init__(self, *args: Any, situation: Situation, **kwargs: Any) -> None:
        super().__init__(*args, situation=situation, **kwargs)
        data = prepared(situation)
        known = data is not None and any(table.glue_table for table in data.tables)
        self.fields["how"].initial = EXISTING if known else MANIFEST

    def clean_how(self) -> str:
        how: str = self.cleaned_data["how"] or str(self.fields["how"].initial)
        data = prepared(self.situation)
        if how == CRAWL and data is not None:
            names = [name for _, name in chosen_tables(self.situation)]
            prefix = _crawler_prefix(data, names)
            if prefix is None:
                raise forms.ValidationError(
                    "A crawler calls a table after its folder, with one prefix for all. Give the tables such names in "
                    f"the step before, such as {glue_name(data.dataset)}_{glue_name(data.tables[0].name)}, or have the "
                    "portal make them."
                )
        return how

    @classmethod
    def becomes(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
        data = prepared(situation)
        if data is None:
            return []
        return [
            ("In", member_name(situation, data.account)),
            *(("Table", f"{database}.{name}") for database, name in chosen_tables(situation)),
            ("Athena's results", results_location(data)),
            (
                "They go",
                f"after {settings.UPLOAD_DAYS} days" if uploads_possible(situation) else "when you delete them",
            ),
        ]

    @classmethod
    def documents(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Any]]:
        data = prepared(situation)
        if data is None:
            return []
        return [
            (f"Glue table {name}", table_input(table, name, situation.run.pk))
            for table, (_, name) in zip(data.tables, chosen_tables(situation), strict=True)
        ]

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        words = dict(cls.base_fields["how"].choices)  # type: ignore[attr-defined]  # it is a ChoiceField
        return [("Glue tables", str(words.get(answer.get("how"), "")))]


def _crawler_prefix(data: Prepared, names: list[str]) -> str | None:
    """What stands before the folder's name in every table's name; None where it is not the same in all."""
    prefixes = set()
    for table, name in zip(data.tables, names, strict=True):
        folder = glue_name(table.location.rstrip("/").rpartition("/")[2])
        if not name.endswith(folder):
            return None
        prefixes.add(name.removesuffix(folder))
    return prefixes.pop() if len(prefixes) == 1 else None


class Catalogue(IdentityStep):
    """Database and tables, made or adopted, compared with the files and read once by Athena."""

    key = KEY
    title = "Catalogue the tables"
    section = "Guide 7: Catalog data as AWS Glue table"
    summary = "AWS Glue gets a table for each prepared folder; Athena reads ten rows of it as a check."
    needs = ("source-role",)
    usually = "a minute"
    undo = "Tables and database can be deleted in Glue; the files stay."
    questions = (HowToCatalogue,)

    def act(self, situation: Situation) -> str:
        names = chosen_tables(situation)
        how = situation.answer(self.key, "how", "how")
        count = f"{len(names)} Glue table{'s' if len(names) != 1 else ''}"
        return f"{'Use' if how == EXISTING else 'Make'} {count}"

    def plan(self, situation: Situation) -> list[Call]:
        data = prepared(situation)
        if data is None:
            return []
        whole = self.full_plan(situation)
        if acts(situation, data.account):
            return whole
        if not may_look(situation, data.account):
            return []
        reads = [call for call in whole if call.effect == "read" and call.service == "glue"]
        return [*verification(whole), *reads]

    def full_plan(self, situation: Situation) -> list[Call]:
        data = prepared(situation)
        if data is None:
            return []
        names = chosen_tables(situation)
        how = situation.answer(self.key, "how", "how", MANIFEST)
        calls = self._database(situation, data, names[0][0], how)
        if how == CRAWL:
            calls += self._crawler(situation, data, names)
        for number, (table, (database, name)) in enumerate(zip(data.tables, names, strict=True), 1):
            if how == MANIFEST:
                calls.append(self._table(situation, data, table, number, database, name))
            else:
                calls.append(
                    Call(
                        key=f"table-{number}",
                        title=f"Compare Glue table {database}.{name} with the files",
                        service="glue",
                        operation="GetTable",
                        params={"DatabaseName": database, "Name": name},
                        account=data.account,
                    )
                )
        for number, (database, name) in enumerate(names, 1):
            calls += self._check(data, number, database, name)
        return calls

    def _database(self, situation: Situation, data: Prepared, database: str, how: str) -> list[Call]:
        if how == EXISTING:
            return [
                Call(
                    key="database",
                    title=f"Glue database {database}",
                    service="glue",
                    operation="GetDatabase",
                    params={"Name": database},
                    account=data.account,
                )
            ]
        about = f"Identity data for AMC instance {situation.instance.instance_id}"
        return [
            Call(
                key="database",
                title=f"Glue database {database}",
                service="glue",
                operation="CreateDatabase",
                params={"DatabaseInput": {"Name": database, "Description": about}},
                effect="create",
                account=data.account,
                look=Look(
                    operation="GetDatabase",
                    params={"Name": database},
                    missing=("EntityNotFoundException",),
                    same={"Database.Name": database},
                ),
                undo="Can be deleted in Glue when it has no tables.",
            )
        ]

    def _table(self, situation: Situation, data: Prepared, table: Table, number: int, database: str, name: str) -> Call:
        wanted = table_input(table, name, situation.run.pk)
        storage = wanted["StorageDescriptor"]
        same = {
            "Table.StorageDescriptor.Columns": storage["Columns"],
            "Table.StorageDescriptor.Location": table.location,
            "Table.StorageDescriptor.SerdeInfo.SerializationLibrary": storage["SerdeInfo"]["SerializationLibrary"],
        }
        return Call(
            key=f"table-{number}",
            title=f"Glue table {database}.{name}",
            service="glue",
            operation="CreateTable",
            params={"DatabaseName": database, "TableInput": wanted},
            effect="create",
            account=data.account,
            look=Look(
                operation="GetTable",
                params={"DatabaseName": database, "Name": name},
                missing=("EntityNotFoundException",),
                same=same,
            ),
            undo="Can be deleted in Glue; the files stay.",
        )

    def _crawler(self, situation: Situation, data: Prepared, names: list[tuple[str, str]]) -> list[Call]:
        database = names[0][0]
        role = role_name("crawler", f"{data.dataset}-{situation.instance.instance_id}")
        crawler = f"amc-{data.label}-{situation.instance.instance_id}"
        tags = [{"Key": "amc-portal-run", "Value": str(situation.run.pk)}]
        policy = crawler_policy(data.account, data.bucket, database)
        prefix = _crawler_prefix(data, [name for _, name in names]) or ""
        targets = [{"Path": table.location} for table in data.tables]
        arn = role_arn(data.account, role)
        return [
            Call(
                key="crawler-role",
                title=f"IAM role {PATH}{role}",
                service="iam",
                operation="CreateRole",
                params={
                    "RoleName": role,
                    "Path": PATH,
                    "AssumeRolePolicyDocument": crawler_trust(),
                    "Description": "An AWS Glue crawler reads the prepared files with this role",
                    "Tags": tags,
                    **limited(situation, data.account),
                },
                effect="create",
                account=data.account,
                look=Look(
                    operation="GetRole",
                    params={"RoleName": role},
                    missing=("NoSuchEntity",),
                    same={"Role.Path": PATH, "Role.AssumeRolePolicyDocument": crawler_trust()},
                ),
                undo="Can be deleted in IAM.",
            ),
            Call(
                key="crawler-policy",
                title="What the crawler may do: read the files, write the tables",
                service="iam",
                operation="PutRolePolicy",
                params={"RoleName": role, "PolicyName": "crawl", "PolicyDocument": policy},
                effect="update",
                account=data.account,
                look=Look(
                    operation="GetRolePolicy",
                    params={"RoleName": role, "PolicyName": "crawl"},
                    missing=("NoSuchEntity",),
                    same={"PolicyDocument": policy},
                ),
            ),
            Call(
                key="crawler",
                title=f"Glue crawler {crawler}",
                service="glue",
                operation="CreateCrawler",
                params={
                    "Name": crawler,
                    "Role": arn,
                    "DatabaseName": database,
                    "TablePrefix": prefix,
                    "Targets": {"S3Targets": targets},
                    "Tags": {"amc-portal-run": str(situation.run.pk)},
                },
                effect="create",
                account=data.account,
                look=Look(
                    operation="GetCrawler",
                    params={"Name": crawler},
                    missing=("EntityNotFoundException",),
                    same={
                        "Crawler.DatabaseName": database,
                        "Crawler.Targets.S3Targets.*.Path": [target["Path"] for target in targets],
                    },
                ),
                undo="Can be deleted in Glue.",
            ),
            Call(
                key="crawl",
                title="Start the crawler",
                service="glue",
                operation="StartCrawler",
                params={"Name": crawler},
                effect="update",
                account=data.account,
                look=Look(
                    operation="GetCrawler",
                    params={"Name": crawler},
                    missing=("EntityNotFoundException",),
                    same={"Crawler.LastCrawl.Status": "SUCCEEDED"},
                ),
            ),
            Call(
                key="crawled",
                title="Wait until the crawler has found the tables",
                service="glue",
                operation="GetCrawler",
                params={"Name": crawler},
                effect="wait",
                account=data.account,
                until=Until(
                    path="Crawler.LastCrawl.Status",
                    done=("SUCCEEDED",),
                    failed={"FAILED": "The crawler failed.", "CANCELLED": "Somebody stopped the crawler."},
                    every=(5, 15, 30, 60),
                    give_up=3600,
                    usually="about two minutes",
                    reason="Crawler.LastCrawl.ErrorMessage",
                    todo="Look at the crawler in AWS Glue, or have the portal make the tables.",
                ),
            ),
        ]

    def _check(self, data: Prepared, number: int, database: str, name: str) -> list[Call]:
        execution = Ref(self.key, f"check-{number}", "QueryExecutionId")
        return [
            Call(
                key=f"check-{number}",
                title=f"Read ten rows of {database}.{name} with Athena",
                service="athena",
                operation="StartQueryExecution",
                params={
                    "QueryString": check_query(database, name),
                    "QueryExecutionContext": {"Database": database},
                    "ResultConfiguration": {"OutputLocation": results_location(data)},
                },
                effect="create",
                account=data.account,
                token_param="ClientRequestToken",  # noqa: S106  # a name, no secret
                undo="The result is a file in your bucket.",
            ),
            Call(
                key=f"checked-{number}",
                title=f"Wait until Athena has read {database}.{name}",
                service="athena",
                operation="GetQueryExecution",
                params={"QueryExecutionId": execution},
                effect="wait",
                account=data.account,
                until=Until(
                    path="QueryExecution.Status.State",
                    done=("SUCCEEDED",),
                    failed={
                        "FAILED": f"Athena can't read the table {database}.{name}.",
                        "CANCELLED": "The query was stopped.",
                    },
                    every=(2, 5, 10, 30),
                    give_up=1800,
                    usually="a few seconds",
                    reason="QueryExecution.Status.StateChangeReason",
                    todo="Compare the table's columns and location with the files, then try again.",
                ),
            ),
            Call(
                key=f"counted-{number}",
                title=f"Count what Athena read of {database}.{name}; no value is kept",
                service="athena",
                operation="GetQueryResults",
                params={"QueryExecutionId": execution, "MaxResults": MOST_RESULTS},
                account=data.account,
            ),
        ]

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        data = prepared(situation)
        name, _, number = call.rpartition("-")
        if data is None or not number.isdigit():
            return
        table = data.tables[int(number) - 1]
        if name == "table" and "Table" in output:
            compare_table(table, output["Table"], *chosen_tables(situation)[int(number) - 1])
        elif name == "counted":
            self._compare_read(table, output)

    @staticmethod
    def _compare_read(table: Table, output: Mapping[str, Any]) -> None:
        read = [str(one.get("Name")) for one in output.get("columns") or []]
        wanted = [column.name for column in table.columns]
        if columns_that_differ(read, wanted, ordered=table.format == CSV):
            raise _other_columns("Athena reads other columns than the files have.", read, wanted)
        if not output.get("rows") and table.rows != 0:
            raise Fix(
                "Athena finds no rows in the table.",
                why=f"The table's location is {table.location}, and no file in it could be read.",
                who="AWS administrator",
                todo="The location has to be the folder that holds the files, not a file. Correct it, then try again.",
                code="NoRows",
            )

    def exhibits(self, situation: Situation) -> list[Comparison]:
        data = prepared(situation)
        outputs = situation.outputs.get(self.key, {})
        found = []
        for number, (database, name) in enumerate(chosen_tables(situation), 1):
            counted = outputs.get(f"counted-{number}")
            if data is None or counted is None:
                continue
            wanted = data.tables[number - 1].columns
            types = {str(one["Name"]): str(one["Type"]) for one in counted["columns"]}
            lines = tuple(
                Line(
                    column.name,
                    types.get(column.name, "not there"),
                    "varchar",
                    SAME if types.get(column.name) in _TEXT else "Different",
                )
                for column in wanted
            )
            title = f"{database}.{name}: Athena read {counted['rows']} row{'s' if counted['rows'] != 1 else ''}"
            found.append(Comparison(title, "Column", lines))
        return found


def compare_table(table: Table, seen: Mapping[str, Any], database: str, name: str) -> None:
    """Whether a Glue table fits the files: the folder, and each column by name, case and (CSV) order. Raises Fix."""
    storage = seen.get("StorageDescriptor") or {}
    location = str(storage.get("Location") or "")
    if location.rstrip("/") != table.location.rstrip("/"):
        is_file = location.rstrip("/").startswith(table.location.rstrip("/") + "/")
        raise Fix(
            f"The Glue table {database}.{name} "
            + ("points at a file, not at the folder." if is_file else "points at another place than the files."),
            why=f"Its location is {location or 'empty'}; the files lie in {table.location}.",
            who="AWS administrator",
            todo="Set the table's location to the folder of the files, or have the portal make the table.",
            code="Different",
            details={
                "differences": [{"path": "Table.StorageDescriptor.Location", "is": location, "wanted": table.location}]
            },
        )
    if table.format == CSV and not _skips_header(seen):
        raise Fix(
            f"The Glue table {database}.{name} would read the header row as data.",
            why="The files have a header row, and the table has no skip.header.line.count of 1.",
            who="AWS administrator",
            todo="Set skip.header.line.count to 1 in the table's properties, or have the portal make the table.",
            code="Different",
            details={"differences": [{"path": "skip.header.line.count", "is": None, "wanted": "1"}]},
        )
    found = [str(one.get("Name")) for one in storage.get("Columns") or []]
    wanted = [column.name for column in table.columns]
    if columns_that_differ(found, wanted, ordered=table.format == CSV):
        raise _other_columns(f"The columns of {database}.{name} are not those of the files.", found, wanted)


def _skips_header(seen: Mapping[str, Any]) -> bool:
    storage = seen.get("StorageDescriptor") or {}
    places = (seen, storage, storage.get("SerdeInfo") or {})
    return any((one.get("Parameters") or {}).get("skip.header.line.count") == "1" for one in places)


def _other_columns(what: str, found: list[str], wanted: list[str]) -> Fix:
    return Fix(
        what,
        why="Names have to be the same in upper and lower case, and for CSV in the same order.",
        who="AWS administrator",
        todo="Correct the table's columns as shown below, or have the portal make the table.",
        code="Different",
        details={"differences": [{"path": "Columns", "is": found, "wanted": wanted}]},
    )
