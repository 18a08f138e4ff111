"""What exists in each AWS account, for people who watch."""

from __future__ import annotations

from simulator.aws.collaborations import COLLABORATIONS, MAPPING_TABLES, MEMBERSHIPS, NAMESPACE_ASSOCIATIONS
from simulator.aws.entityresolution import NAMESPACES, SCHEMAS
from simulator.aws.memberships import TABLE_ASSOCIATIONS
from simulator.aws.moto_state import MotoState
from simulator.aws.tables import CONFIGURED_TABLES
from simulator.store import World


def inventory(world: World, moto: MotoState) -> dict[str, list[dict[str, str]]]:
    """By account: entries of service, kind, name, arn and, where there is one, status."""
    found: dict[str, list[dict[str, str]]] = {}

    def note(account: str, service: str, kind: str, name: str, arn: str, status: str = "") -> None:
        entry = {"service": service, "kind": kind, "name": name, "arn": arn}
        if status:
            entry["status"] = status
        found.setdefault(account, []).append(entry)

    for account in moto.accounts():
        for bucket in moto.backend("s3", account, "aws").buckets.values():
            note(account, "s3", "bucket", bucket.name, f"arn:aws:s3:::{bucket.name}", bucket.region_name)
            for key in moto.objects(bucket.name, ""):
                note(account, "s3", "object", f"{bucket.name}/{key.name}", f"arn:aws:s3:::{bucket.name}/{key.name}")
        for role in moto.backend("iam", account, "aws").roles.values():
            note(account, "iam", "role", role.name, role.arn)
        for policy in moto.backend("iam", account, "aws").managed_policies.values():
            note(account, "iam", "policy", policy.name, policy.arn)
        for region, database, table in moto.glue_tables(account):
            note(
                account,
                "glue",
                "table",
                f"{database}.{table}",
                f"arn:aws:glue:{region}:{account}:table/{database}/{table}",
            )
    for row in world.table(COLLABORATIONS).values():
        for member in row["members"]:
            note(member["accountId"], "cleanrooms", "collaboration", row["name"], row["arn"], member["status"])
    for row in world.table(MEMBERSHIPS).values():
        note(row["account"], "cleanrooms", "membership", row["collaborationName"], row["arn"], row["status"])
    for table_name, kind in (
        (NAMESPACE_ASSOCIATIONS, "ID namespace association"),
        (MAPPING_TABLES, "ID mapping table"),
        (CONFIGURED_TABLES, "configured table"),
        (TABLE_ASSOCIATIONS, "configured table association"),
    ):
        for row in world.table(table_name).values():
            note(row["account"], "cleanrooms", kind, row["name"], row["arn"])
    for row in world.table(SCHEMAS).values():
        note(row["account"], "entityresolution", "schema mapping", row["schemaName"], row["schemaArn"])
    for row in world.table(NAMESPACES).values():
        note(row["account"], "entityresolution", "ID namespace", row["idNamespaceName"], row["idNamespaceArn"])
    return dict(sorted(found.items()))
