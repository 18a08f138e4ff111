"""Identity data sets and ID mapping tables: names, counts and states; no value of an identity column is in them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import BaseModel, Field

from onboarding.api.auth import caller
from onboarding.api.paging import Page, PageOf, paged
from onboarding.api.words import Pk, one_of
from onboarding.models import Dataset, DatasetVersion, IdentityJob, MappingJob, MappingTable
from onboarding.services.access import get_visible

datasets = Router(tags=["data sets"])
mapping_tables = Router(tags=["mapping tables"])


class DatasetOut(BaseModel):
    """An identity data set of an instance."""

    id: int
    instance: int
    name: str
    aws_account_id: str
    bucket: str
    prefix: str
    made_at: datetime
    retired_at: datetime | None

    @classmethod
    def of(cls, row: Dataset) -> DatasetOut:
        """The row."""
        return cls(
            id=row.pk,
            instance=row.instance_id,
            name=row.name,
            aws_account_id=row.aws_account_id,
            bucket=row.bucket,
            prefix=row.prefix,
            made_at=row.made_at,
            retired_at=row.retired_at,
        )


class JobOut(BaseModel):
    """A long piece of work on the files of a version."""

    kind: str = one_of(IdentityJob.Kind.values)
    state: str = one_of(IdentityJob.State.values)
    bytes_done: int
    bytes_all: int
    rows_done: int
    asked_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, row: IdentityJob) -> JobOut:
        """The row."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


class VersionOut(BaseModel):
    """One delivery of a data set."""

    number: int
    run: str | None
    state: str = one_of(DatasetVersion.State.values)
    origin: str = one_of(DatasetVersion.Origin.values)
    columns: dict[str, str] = Field(description="Name of a column → what it holds.")
    country: str
    rule_table: str
    report: dict[str, Any] | None = Field(description="What the check found: counts and numbers of rows.")
    made_at: datetime
    ready_at: datetime | None
    jobs: list[JobOut]

    @classmethod
    def of(cls, row: DatasetVersion) -> VersionOut:
        """The row, read with its jobs."""
        return cls(
            number=row.number,
            run=str(row.run_id) if row.run_id else None,
            state=row.state,
            origin=row.origin,
            columns={name: str(kind) for name, kind in row.columns.items()},
            country=row.country,
            rule_table=row.rule_table,
            report=row.report,
            made_at=row.made_at,
            ready_at=row.ready_at,
            jobs=[JobOut.of(job) for job in row.jobs.all()],
        )


class DatasetDetailOut(DatasetOut):
    """A data set with its versions, the newest first."""

    versions: list[VersionOut]


class MappingTableOut(BaseModel):
    """An ID mapping table of an instance."""

    id: int
    instance: int
    table_id: str = Field(description="AMC's id.")
    name: str
    arn: str
    source_account_id: str
    queryable: bool
    policy: str = one_of(MappingTable.Policy.values, "When it is refreshed.")
    created_at: datetime | None
    updated_at: datetime | None
    refreshed_at: datetime | None
    next_refresh_at: datetime | None = Field(description="The earliest time of the next refresh.")
    deleted_at: datetime | None

    @classmethod
    def of(cls, row: MappingTable) -> MappingTableOut:
        """The row."""
        return cls(
            id=row.pk,
            instance=row.instance_id,
            table_id=row.table_id,
            name=row.name,
            arn=row.arn,
            source_account_id=row.source_account_id,
            queryable=row.queryable,
            policy=row.policy,
            created_at=row.created_at,
            updated_at=row.updated_at,
            refreshed_at=row.refreshed_at,
            next_refresh_at=row.next_refresh_at,
            deleted_at=row.deleted_at,
        )


class MappingJobOut(BaseModel):
    """A job that filled the table, or is filling it."""

    kind: str = one_of(MappingJob.Kind.values)
    status: str = one_of(MappingJob.Status.values)
    job_id: str
    asked_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    error_details: str
    metrics: dict[str, Any] = Field(description="Numbers of records, as AMC has them.")

    @classmethod
    def of(cls, row: MappingJob) -> MappingJobOut:
        """The row."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


class MappingTableDetailOut(MappingTableOut):
    """A mapping table with its jobs, the newest first."""

    jobs: list[MappingJobOut]


class OfInstance(BaseModel):
    """Of which instance."""

    instance: int | None = Field(default=None, ge=1, le=2**63 - 1, description="The portal's number of the instance.")


@datasets.get("", response=PageOf[DatasetOut], url_name="datasets", summary="List data sets")
def list_datasets(
    request: HttpRequest, response: HttpResponse, find: Annotated[OfInstance, Query()], paging: Page
) -> PageOf[DatasetOut]:
    """The identity data sets of your accounts."""
    rows = Dataset.objects.visible_to(caller(request)).order_by("pk")
    if find.instance is not None:
        rows = rows.filter(instance=find.instance)
    return paged(request, response, rows, paging, DatasetOut.of)


@datasets.get("/{int:pk}", response=DatasetDetailOut, url_name="dataset", summary="Read a data set")
def read_dataset(request: HttpRequest, pk: Pk) -> DatasetDetailOut:
    """A data set with its versions and the work on them."""
    row = get_visible(Dataset, caller(request), pk=pk)
    versions = row.versions.prefetch_related("jobs")
    return DatasetDetailOut(
        **DatasetOut.of(row).model_dump(), versions=[VersionOut.of(version) for version in versions]
    )


@mapping_tables.get("", response=PageOf[MappingTableOut], url_name="mapping-tables", summary="List ID mapping tables")
def list_mapping_tables(
    request: HttpRequest, response: HttpResponse, find: Annotated[OfInstance, Query()], paging: Page
) -> PageOf[MappingTableOut]:
    """The ID mapping tables of your accounts."""
    rows = MappingTable.objects.visible_to(caller(request)).order_by("pk")
    if find.instance is not None:
        rows = rows.filter(instance=find.instance)
    return paged(request, response, rows, paging, MappingTableOut.of)


@mapping_tables.get(
    "/{int:pk}", response=MappingTableDetailOut, url_name="mapping-table", summary="Read an ID mapping table"
)
def read_mapping_table(request: HttpRequest, pk: Pk) -> MappingTableDetailOut:
    """A mapping table with the jobs that filled it."""
    row = get_visible(MappingTable, caller(request), pk=pk)
    return MappingTableDetailOut(
        **MappingTableOut.of(row).model_dump(), jobs=[MappingJobOut.of(job) for job in row.jobs.all()]
    )
