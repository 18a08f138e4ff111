"""What lies where the tables of an ID namespace are: names, sizes and entity tags, to see whether it changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from onboarding.guide.aws_access import CheckAwsAccess, portal_acts
from onboarding.guide.plan import Call, Look
from onboarding.guide.step import Situation
from onboarding.guide.verify import may_look
from onboarding.models import IdNamespace, NamespaceTable

INPUTS = "inputs-"


def locations(situation: Situation, arn: Any) -> list[tuple[str, str]]:
    """AWS account and `s3://…` location of every table of an ID namespace, as far as the portal knows them."""
    prepared = situation.outputs.get("identity-files", {}).get("prepare", {})
    account = str(prepared.get("aws_account_id") or "")
    found = [(account, str(table.get("location") or "")) for table in prepared.get("tables") or []]
    if not found and isinstance(arn, str) and arn:
        found = locations_of(IdNamespace.objects.filter(instance=situation.instance, arn=arn).first())
    return [one for one in found if one[1].startswith("s3://")]


def locations_of(namespace: IdNamespace | None) -> list[tuple[str, str]]:
    """The same for a namespace that the portal keeps."""
    if namespace is None:
        return []
    rows = NamespaceTable.objects.filter(namespace=namespace).order_by("position")
    return [(namespace.aws_account_id, table.location) for table in rows if table.location.startswith("s3://")]


def read_inputs(situation: Situation, arn: Any) -> list[Call]:
    """Calls that list what lies at the locations; none where the portal may not look."""
    acts = CheckAwsAccess.key not in situation.answers or portal_acts(situation)
    found = [one for one in locations(situation, arn) if acts or may_look(situation, one[0])]
    return listings(one for one in found if may_look(situation, one[0]))


def listings(places: Iterable[tuple[str, str]]) -> list[Call]:
    """One call for each place; what each found is kept under a key that begins with `INPUTS`."""
    calls = []
    for number, (account, location) in enumerate(places, 1):
        bucket, _, prefix = location.removeprefix("s3://").partition("/")
        params = {"Bucket": bucket, "Prefix": prefix}
        calls.append(
            Call(
                key=f"{INPUTS}{number}",
                title=f"See what lies in {location}",
                service="s3",
                operation="ListObjectsV2",
                params=params,
                account=account,
                look=Look(operation="ListObjectsV2", params=params, items="Contents", several=True),
            )
        )
    return calls


def digest_of(outputs: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of names, sizes and entity tags of what the listings among the outputs found; empty for none."""
    lines = sorted(
        [str(one.get("Key")), int(one.get("Size") or 0), str(one.get("ETag") or "").strip('"')]
        for key, output in outputs.items()
        if key.startswith(INPUTS)
        for one in output.get("Contents") or []
    )
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest() if lines else ""
