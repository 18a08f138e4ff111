"""What preparing the files left for the steps after it: the tables in S3, their columns and what each holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onboarding.guide.aws_access import portal_acts, primary_account
from onboarding.guide.boundary import boundary_arn
from onboarding.guide.plan import Ref
from onboarding.guide.step import GuideStep, Question, Situation
from onboarding.guide.verify import may_look
from onboarding.identity.columns import Kind
from onboarding.models import CollaborationMember, Membership

STEP, CALL = "identity-files", "prepare"
PARQUET, CSV = "PARQUET", "CSV"


@dataclass(frozen=True)
class Column:
    """A column of a prepared table: its name in the files, what it holds, and whether the values are hashes."""

    name: str
    kind: Kind
    hashed: bool


@dataclass(frozen=True)
class Table:
    """A table's worth of files: one folder in S3. `database` and `glue_table` are set where Glue knows it already."""

    name: str
    location: str
    format: str
    rows: int | None
    columns: tuple[Column, ...]
    database: str = ""
    glue_table: str = ""


@dataclass(frozen=True)
class Prepared:
    """A version of a data set, ready in S3. `account` is the AWS account that holds it."""

    dataset: str
    version: int
    version_pk: int | None
    account: str
    bucket: str
    prefix: str
    country: str
    rows: int | None
    tables: tuple[Table, ...]

    @property
    def label(self) -> str:
        """Data set and version as part of names: `crm-v2`."""
        return f"{self.dataset}-v{self.version}"


def prepared(situation: Situation) -> Prepared | None:
    """What the step of the files prepared in this run; None before that, and where no identity data are brought."""
    output = situation.outputs.get(STEP, {}).get(CALL)
    return _read(output) if output else None


def _read(output: Mapping[str, Any]) -> Prepared:
    return Prepared(
        dataset=str(output["dataset"]),
        version=int(output["version"]),
        version_pk=output.get("version_pk"),
        account=str(output["aws_account_id"]),
        bucket=str(output["bucket"]),
        prefix=str(output.get("prefix") or ""),
        country=str(output.get("country") or ""),
        rows=output.get("rows"),
        tables=tuple(
            Table(
                name=str(table["name"]),
                location=str(table["location"]),
                format=str(table["format"]),
                rows=table.get("rows"),
                columns=tuple(
                    Column(str(one["name"]), Kind(one["kind"]), bool(one.get("hashed"))) for one in table["columns"]
                ),
                database=str(table.get("database") or ""),
                glue_table=str(table.get("glue_table") or ""),
            )
            for table in output["tables"]
        ),
    )


def acts(situation: Situation, account: str) -> bool:
    """Whether the portal itself acts in this AWS account: as answered for the primary one; for a partner's where it is
    connected."""
    return portal_acts(situation) if account == primary_account(situation) else may_look(situation, account)


def limited(situation: Situation, account: str) -> dict[str, Any]:
    """The parameter by which a role that the portal makes stands under the permissions boundary; whoever acts alone
    need not have that policy."""
    return {"PermissionsBoundary": boundary_arn(account)} if acts(situation, account) else {}


def membership_of(situation: Situation, account: str) -> Any:
    """The id of the account's membership in the collaboration, or a reference to it while it is not known."""
    mine = Membership.objects.filter(instance=situation.instance, aws_account_id=account, left_at=None).first()
    if mine is not None:
        return mine.membership_id
    member = (
        CollaborationMember.objects.filter(instance=situation.instance, account_id=account)
        .filter(kind__in=[CollaborationMember.Kind.CUSTOMER, CollaborationMember.Kind.PARTNER])
        .exclude(membership_id="")
        .first()
    )
    return member.membership_id if member else Ref("join", "membership", "membership.id")


def member_name(situation: Situation, account: str) -> str:
    """Whose membership it is: the display name in the collaboration with the account, or the account alone."""
    member = CollaborationMember.objects.filter(instance=situation.instance, account_id=account).first()
    name = member.display_name if member else ""
    return f"{name} (AWS account {account})" if name else f"AWS account {account}"


def glue_name(text: str) -> str:
    """`text` as a name in Glue that Athena takes without quotes: lower case letters, digits and underscores."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


class IdentityQuestion(Question):
    """A question whose proposals come from the prepared files; it is asked once they are there."""

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        return prepared(situation) is not None


class IdentityStep(GuideStep):
    """A step that is needed only where identity data were prepared."""

    stage = "Bring identity data"
    # Names are proposed, and checked, by what was prepared.
    early = False

    def applies(self, situation: Situation) -> bool:
        return prepared(situation) is not None
