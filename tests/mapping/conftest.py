"""A joined collaboration with ID namespaces over prepared samples, and the runs about mapping tables."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from onboarding.identity.check import look
from onboarding.identity.prepare import prepare
from onboarding.models import Dataset, DatasetVersion, IdNamespace, NamespaceTable
from onboarding.services import mapping
from simulator.matching.sample import Plan, Truth, write_sample
from tests.join.conftest import PRIMARY, aws, portal_itself
from tests.lifecycle.conftest import Hung, Lifecycle, life
from tests.prepared import prepared
from tests.simulated import amazon, connected

__all__ = ["amazon", "connected", "life", "portal_itself"]
BUCKET = "acme-data"
HASHED = "hashed with amazon-ads-1"


class Mapped(Hung):
    """An instance that was joined, whose data sets are prepared, catalogued, wrapped and associated."""

    def __init__(self, life: Lifecycle, tmp_path) -> None:
        self.life, self.folder = life, tmp_path
        self.url, self.account = life.amazon.url, PRIMARY
        self.truths: dict[str, Truth] = {}
        self.prepared("mapped", self._begin)

    def prepared(self, key: str, build: Callable[[], object]) -> None:
        """Have this done, or put back what came of it in a test before."""
        prepared(key, self.life.amazon, [self.life, self], build, own=[self.folder])

    def _begin(self) -> None:
        life = self.life
        self.membership = {"membershipIdentifier": life.joined().membership_id}
        life.instance.collaboration_status = "ACTIVE"
        life.instance.save()
        self.client("s3").create_bucket(Bucket=BUCKET)
        self.client("glue").create_database(DatabaseInput={"Name": "amc"})
        self.role("entityresolution")

    def dataset(self, name: str, rows: int = 600, seed: int = 1, known: bool = True, **plan) -> str:
        """A prepared sample as an ID namespace in the collaboration; its ARN. `known`: the portal has its rows."""
        path = self.folder / f"{name}.csv"
        self.truths[name] = write_sample(Plan(rows=rows, countries={"US": 1.0}, seed=seed, **plan), path)
        out = f"s3://{BUCKET}/amc/{name}/v1"
        s3 = aws(self.life.amazon.url, PRIMARY, "s3")
        result = prepare([str(path)], look([str(path)]).mapping(), out, country="US", s3=lambda: s3)
        tables = [(f"{name}_{table.name}", f"{out}/{table.name}/", table) for table in result.tables]
        for table_name, location, table in tables:
            self.catalogued(table_name, location, table)
        arn = self.client("entityresolution").create_id_namespace(
            idNamespaceName=name,
            type="SOURCE",
            inputSourceConfig=[
                {"inputSourceARN": f"arn:aws:glue:us-east-1:{PRIMARY}:table/amc/{one}", "schemaName": one}
                for one, _, _ in tables
            ],
            idMappingWorkflowProperties=[
                {"idMappingType": "RULE_BASED", "ruleBasedProperties": {"ruleDefinitionTypes": ["TARGET"]}}
            ],
            roleArn=f"arn:aws:iam::{PRIMARY}:role/service-role/amc-cleanrooms-entityresolution",
        )["idNamespaceArn"]
        made = self.client("cleanrooms").create_id_namespace_association(
            name=name,
            inputReferenceConfig={"inputReferenceArn": arn, "manageResourcePolicies": True},
            **self.membership,
        )["idNamespaceAssociation"]
        if known:
            self.keep(name, arn, made, result, tables)
        return arn

    def catalogued(self, name: str, location: str, table) -> None:
        columns = [column.as_dict() for column in table.columns]
        self.client("glue").create_table(
            DatabaseName="amc",
            TableInput={
                "Name": name,
                "StorageDescriptor": {
                    "Columns": [{"Name": column["name"], "Type": "string"} for column in columns],
                    "Location": location,
                    "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
                    "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
                    "SerdeInfo": {
                        "SerializationLibrary": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
                    },
                },
                "Parameters": {"classification": "parquet"},
                "TableType": "EXTERNAL_TABLE",
            },
        )
        self.client("entityresolution").create_schema_mapping(
            schemaName=name, mappedInputFields=[_field(column) for column in columns if column["er_type"]]
        )

    def keep(self, name, arn, association, result, tables) -> IdNamespace:
        """The portal's rows of a data set, as the steps before write them."""
        now = timezone.now()
        dataset = Dataset.objects.create(
            instance=self.life.instance,
            aws_account_id=PRIMARY,
            name=name,
            bucket=BUCKET,
            prefix="amc",
            made_by=self.life.analyst,
            made_at=now,
        )
        version = DatasetVersion.objects.create(
            dataset=dataset,
            number=1,
            state="ready",
            origin="s3",
            country="US",
            rule_table="amazon-ads-1",
            manifest={"tables": [{"name": one.name, "rows": one.rows} for one in result.tables]},
            report={"forecast": {"rows": self.truths[name].rows, "matchable": self.truths[name].rows}},
            made_at=now,
            ready_at=now,
        )
        namespace = IdNamespace.objects.create(
            instance=self.life.instance,
            version=version,
            aws_account_id=PRIMARY,
            name=name,
            arn=arn,
            role_arn=f"arn:aws:iam::{PRIMARY}:role/service-role/amc-cleanrooms-entityresolution",
            membership_id=self.membership["membershipIdentifier"],
            association_id=association["id"],
            association_name=name,
            made_at=now,
            associated_at=now,
            seen_at=now,
        )
        NamespaceTable.objects.bulk_create(
            NamespaceTable(
                namespace=namespace,
                position=place,
                database="amc",
                glue_table=table_name,
                location=location,
                rows=table.rows,
                fields=[_field(one) for one in (column.as_dict() for column in table.columns) if one["er_type"]],
                schema_name=table_name,
            )
            for place, (table_name, location, table) in enumerate(tables)
        )
        return namespace

    # -- runs

    def another(self):
        self.life.run = mapping.start_another(person=self.life.analyst, instance=self.life.instance, now=timezone.now())
        assert self.life.work("mapping-look").state == "done", self.life.step("mapping-look").failure
        return self.life.run

    def create(self, name: str = "customers", **answers):
        """A whole run that makes a mapping table; its last step."""
        self.another()
        for slug, values in answers.items():
            self.life.answer("mapping-table", slug, **values)
        self.life.answer("mapping-table", "name", name=name)
        self.life.submit("mapping-table")
        return self.finish("mapping-table")

    def finish(self, key: str, seconds: float = 120):
        """Work on a step to its end: Amazon's job takes the time that it takes."""
        deadline = time.monotonic() + seconds
        while True:
            step = self.life.work(key, tries=1)
            if step.state not in ("queued", "waiting") or time.monotonic() > deadline:
                return step
            time.sleep(0.05)

    def start(self, procedure: str, table):
        self.life.run = mapping.start(person=self.life.analyst, table=table, procedure=procedure, now=timezone.now())
        return self.life.run

    def amc_tables(self) -> list[dict]:
        return self.life.amc("POST", "/collaboration/idmappingtables/list", maxResults=100).json()["idMappingTables"]

    def amc_jobs(self, table) -> list[dict]:
        path = f"/collaboration/idmappingtables/{table.table_id}/jobs/list"
        return self.life.amc("POST", path, maxResults=25).json()["idMappingJobs"]

    def days_pass(self, days: float) -> None:
        """Amazon's clock and the portal's memory move on together."""
        from onboarding.models import MappingTable

        self.life.amazon.control("POST", "clock", advance=days * 86_400)
        for table in MappingTable.objects.exclude(refreshed_at=None):
            table.refreshed_at -= timedelta(days=days)
            table.save()


def _field(column: dict) -> dict:
    field = {"fieldName": column["name"], "type": column["er_type"]}
    if column["match_key"]:
        field |= {"matchKey": column["match_key"], "hashed": column["hashed"]}
    return field


@pytest.fixture
def mapped(life, tmp_path) -> Mapped:
    return Mapped(life, tmp_path)
