"""Ready is proved, not assumed: every link of the chain is looked at once more, from both sides; nothing changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from onboarding.guide.catalogue import KEY as CATALOGUE
from onboarding.guide.catalogue import Catalogue
from onboarding.guide.mapping_job import started
from onboarding.guide.mapping_table import STAGE, TABLES, CreateMappingTable, instance_of, wanted
from onboarding.guide.plan import Call, Look, Ref, first_of
from onboarding.guide.prepared import prepared
from onboarding.guide.schema_mapping import chosen_schemas
from onboarding.guide.source_role import MakeSourceRole, chosen_tables
from onboarding.guide.step import GuideStep, Situation
from onboarding.guide.verify import may_look, verification
from onboarding.identity.columns import CONSENT_COLUMNS
from onboarding.models import Membership

# The steps whose changes are looked at again, in the guide's order.
CHAIN = ("join", "join-partners", "data-bucket", "source-role", "catalogue", "schema-mapping", "id-namespace")
# Those that compare what was there before by themselves, and write nothing down.
COMPARED: Mapping[str, GuideStep] = {step.key: step for step in (MakeSourceRole(), Catalogue())}
_GONE = ("ResourceNotFoundException", "EntityNotFoundException")
# By these names AMC recognises consent; the country says which of them count.
CONSENT = ("country", *CONSENT_COLUMNS)


class ProveReady(GuideStep):
    """Reads, link by link, whether queries can join now."""

    key = "ready"
    title = "Check that everything is ready"
    stage = STAGE
    section = "Guide 4 and 7, looked at once more"
    summary = "Memberships, roles, tables, ID namespace and mapping table are looked at once more. Nothing is changed."
    needs = (CreateMappingTable.key,)
    automatic = True
    usually = "a minute"

    def applies(self, situation: Situation) -> bool:
        return wanted(situation)

    def plan(self, situation: Situation) -> list[Call]:
        return [*self._amc_side(situation), *self._aws_side(situation), *self._mapping(situation)]

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        for key, step in COMPARED.items():
            if call.startswith(f"{key}-"):
                step.note(situation, call.removeprefix(f"{key}-"), output, now)

    def told(self, call: str, found: Any, differences: list[dict[str, Any]]) -> list[dict[str, Any]]:
        role = MakeSourceRole()
        return role.told(call.removeprefix(f"{role.key}-"), found, differences)

    def _amc_side(self, situation: Situation) -> Iterator[Call]:
        where = {"instanceId": instance_of(situation)}
        yield Call(
            key="collaboration",
            title="AMC says that the collaboration is active",
            service="amc",
            operation="getInstanceCollaboration",
            params=where,
            look=Look(
                operation="getInstanceCollaboration",
                params=where,
                same={"collaboration.status": "ACTIVE", "collaboration.customer.status": "ACTIVE"},
                differs="AMC does not call the collaboration active, but {found}.",
                todo="Look under “Members” who has left or has not joined yet. Once everybody is active, try again.",
            ),
        )

    def _aws_side(self, situation: Situation) -> Iterator[Call]:
        for membership in Membership.objects.filter(instance=situation.instance, left_at=None):
            if not may_look(situation, membership.aws_account_id):
                continue
            params = {"membershipIdentifier": membership.membership_id}
            yield Call(
                key=f"membership-{membership.aws_account_id}",
                title=f"The membership of AWS account {membership.aws_account_id} is active",
                service="cleanrooms",
                operation="GetMembership",
                params=params,
                account=membership.aws_account_id,
                look=Look(
                    operation="GetMembership",
                    params=params,
                    same={"membership.status": "ACTIVE"},
                    missing=_GONE,
                    absent=f"AWS account {membership.aws_account_id} has left the collaboration.",
                    differs="AWS does not call the membership active, but {found}.",
                    todo="A membership that ended can't be brought back. Begin an onboarding of a new instance.",
                ),
            )
        yield from self._chain(situation)
        yield from self._consent(situation)

    def _chain(self, situation: Situation) -> Iterator[Call]:
        """The looks of what the earlier steps made: is it there, and still as it was approved?"""
        # Here, since the procedures are made of the steps.
        from onboarding.guide.procedure import steps_of

        for step in steps_of(situation.run.procedure):
            if step.key not in CHAIN or not step.applies(situation):
                continue
            for call in step.full_plan(situation):
                if not may_look(situation, call.account):
                    continue
                key = f"{step.key}-{call.key}"[:48]
                if _judges(step.key, call):
                    # What was there before the portal: looked at again just as when it was chosen.
                    yield replace(call, key=key)
                for seen in verification([call]):
                    if seen.look is not None and known_by_now(seen.look, situation, step.key):
                        look = _in_words(seen.look, call.title, step.title, call.account)
                        yield replace(seen, key=key, title=call.title, look=look)

    def _consent(self, situation: Situation) -> Iterator[Call]:
        for number, (account, database, table, found) in enumerate(consent_columns(situation), 1):
            params = {"DatabaseName": database, "Name": table}
            paths = {}
            for name, place in found:
                paths[f"Table.StorageDescriptor.Columns.{place}.Name"] = name
                paths[f"Table.StorageDescriptor.Columns.{place}.Type"] = "string"
            names = ", ".join(name for name, _ in found)
            yield Call(
                key=f"consent-{number}",
                title=f"Consent is recognised in {database}.{table}: {names}",
                service="glue",
                operation="GetTable",
                params=params,
                account=account,
                look=Look(
                    operation="GetTable",
                    params=params,
                    missing=_GONE,
                    same=paths,
                    absent=f"Glue table {database}.{table} is not there any more.",
                    differs=f"AMC can't recognise consent in {database}.{table}: it needs {names} as text.",
                    todo=f"Give the Glue table in AWS account {account} its columns back as they were, then try again.",
                ),
            )

    def _mapping(self, situation: Situation) -> Iterator[Call]:
        instance, step = instance_of(situation), CreateMappingTable.key
        table = Ref(step, "table", "idMappingTable.id")
        job = first_of(
            *started(step, "table").chain(), Ref(step, "filled", "job.jobId"), *started(step, "filled").chain()
        )
        params = {"instanceId": instance, "idMappingTableId": table, "jobId": job}
        yield Call(
            key="job",
            title="The mapping job succeeded",
            service="amc",
            operation="getCollaborationIdMappingJob",
            params=params,
            look=Look(
                operation="getCollaborationIdMappingJob",
                params=params,
                same={"idMappingJob.status": "SUCCEEDED"},
                differs="AMC says of the mapping job: {found}.",
                todo="Its page under “Mapping tables” shows what Amazon says of it. Refresh the table there, or delete "
                "it and create it again.",
            ),
        )
        where = {"instanceId": instance}
        yield Call(
            key="queryable",
            title="AMC says that the mapping table can be queried",
            service="amc",
            operation="listCollaborationIdMappingTables",
            params=where,
            look=Look(
                operation="listCollaborationIdMappingTables",
                params=where,
                items=TABLES,
                where={"id": table},
                same={"queryable": True},
                absent="AMC no longer lists the mapping table: it was deleted.",
                differs="AMC says that the mapping table can't be queried yet.",
                todo="Wait until the page “Mapping tables” calls the table ready and try again, or create another one "
                "there.",
            ),
        )


def _judges(step: str, call: Call) -> bool:
    """Whether a call of an earlier step only reads, and says by its look or in the step's `note` if all is well."""
    if call.effect != "read":
        return False
    if call.look is not None:
        return bool(call.look.same or call.look.absent)
    return step in COMPARED and call.service in ("iam", "glue")


def _in_words(look: Look, title: str, step: str, account: str) -> Look:
    """The look of an earlier step, with what it means now that the link is gone or has been changed."""
    return replace(
        look,
        absent=f"Not there any more: {title}.",
        differs=f"Changed since it was approved: {title}.",
        todo=f"Make it again in AWS account {account} as it was, with the commands of the step “{step}” "
        "under “As commands”, then try again.",
    )


def known_by_now(look: Look, situation: Situation, step: str) -> bool:
    """Whether everything that a look refers to was written down: not where people made it without the portal."""
    return all(
        ref.call in situation.outputs.get(ref.step, {})
        for ref in _refs([look.params, look.where, look.same, look.ignore])
    )


def _refs(value: Any) -> Iterator[Ref]:
    if isinstance(value, Ref):
        yield from value.chain()[:1]
    elif isinstance(value, dict):
        for item in value.values():
            yield from _refs(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _refs(item)


def consent_columns(situation: Situation) -> Iterable[tuple[str, str, str, list[tuple[str, int]]]]:
    """AWS account, Glue database and table, and name and place of the consent columns that its schema mapping uses.

    Only tables that have some, in an account where the portal may look.
    """
    data = prepared(situation)
    if data is None or not may_look(situation, data.account):
        return
    for number, (table, (database, name), (_, fields)) in enumerate(
        zip(data.tables, chosen_tables(situation), chosen_schemas(situation), strict=True), 1
    ):
        used = {field["fieldName"] for field in fields}
        order = _order(situation, number) or [one.name for one in table.columns]
        found = [
            (one.name, order.index(one.name))
            for one in table.columns
            if one.name in CONSENT and one.name in used and one.name in order
        ]
        if any(column in CONSENT_COLUMNS for column, _ in found):
            yield data.account, database, name, found


def _order(situation: Situation, number: int) -> list[str]:
    """The columns of a Glue table as they were found when it was catalogued; empty where the portal made it.

    One that existed may have them in any order.
    """
    found = situation.outputs.get(CATALOGUE, {}).get(f"table-{number}")
    table = found.get("Table") if isinstance(found, dict) else None
    storage = table.get("StorageDescriptor") if isinstance(table, dict) else None
    return [str(column.get("Name")) for column in (storage or {}).get("Columns") or []]
