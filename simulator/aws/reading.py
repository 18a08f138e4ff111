"""What an ID mapping job may see of a customer's account: through the namespace's role, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from simulator.aws import policy, roles
from simulator.aws.entityresolution import GLUE_TABLE, SERVICE, namespace, schema_mapping
from simulator.aws.errors import AccessRefused
from simulator.aws.gluetable import TableShape, files_under, shape_of
from simulator.clock import SimClock

if TYPE_CHECKING:
    from simulator.aws.front import AwsFront

__all__ = ["AccessRefused", "GlueSource", "RoleReader", "namespace", "schema_mapping"]


@dataclass(frozen=True)
class GlueSource:
    """A Glue table as the role may read it. `columns` are those in the files, in order (no partition keys)."""

    name: str
    shape: TableShape
    reader: RoleReader

    @property
    def columns(self) -> Sequence[str]:
        """Column names of the Glue table, in order."""
        return [column.name for column in self.shape.columns]

    @property
    def format(self) -> Literal["csv", "parquet"]:
        """The format of the files."""
        return self.shape.format

    @property
    def delimiter(self) -> str:
        """What separates the columns of a CSV file."""
        return self.shape.delimiter

    @property
    def location(self) -> str:
        """s3://bucket/prefix."""
        return self.shape.location

    def files(self) -> Iterator[tuple[str, BinaryIO]]:
        """Key and content of each object at the location; each may be asked for again. The caller closes them.

        Raises AccessRefused where the role may not get an object.
        """
        for key, path in self.reader.objects(self.shape.location):
            yield key, path.open("rb")


class RoleReader:
    """Reads as Entity Resolution does with a role.

    Raises AccessRefused with the vendor's wording when the role is gone, no longer trusts Entity Resolution or lacks
    a permission, or when the table or bucket is gone.
    """

    def __init__(self, front: AwsFront, role_arn: str, clock: SimClock) -> None:
        self._front = front
        self._role = role_arn
        self._clock = clock
        self._allow([])

    def _allow(self, needs: list[policy.Request]) -> None:
        with self._front.world.lock:
            roles.check(self._front.world, self._clock, self._front.moto, self._role, SERVICE, needs)

    def table(self, table_arn: str) -> GlueSource:
        """The Glue table with that ARN."""
        matched = GLUE_TABLE.fullmatch(table_arn)
        if matched is None:
            raise AccessRefused(f"{table_arn} is not an AWS Glue table.")
        region, account, database, name = matched.groups()
        self._allow(roles.table_read_needs(account, region, database, name))
        with self._front.world.lock:
            table = self._front.moto.glue_table(account, region, database, name)
        if table is None:
            raise AccessRefused(f"EntityNotFoundException: Entity Not Found: table {database}.{name}")
        shape = shape_of(table)
        if shape is None:
            raise AccessRefused(
                f"The AWS Glue table {database}.{name} is neither CSV nor Parquet, or its location is not in Amazon S3."
            )
        self._allow(roles.bucket_read_needs(self._front.moto, shape.location))
        return GlueSource(f"{database}.{name}", shape, self)

    def objects(self, location: str) -> list[tuple[str, Path]]:
        """Key and body file of each object under `location`, each checked against the role's policies."""
        bucket = location.removeprefix("s3://").split("/")[0]
        with self._front.world.lock:
            owner = self._front.moto.bucket(bucket)
            if owner is None:
                raise AccessRefused(f"NoSuchBucket: The specified bucket does not exist: {bucket}")
            found = files_under(self._front.moto, location)
            context = {"s3:ResourceAccount": owner.account_id, "aws:ResourceAccount": owner.account_id}
            self._allow(
                [policy.Request("s3:GetObject", f"arn:aws:s3:::{bucket}/{key}", dict(context)) for key, _ in found]
            )
        return found
