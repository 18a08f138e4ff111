"""The nightly comparison: reads what is there, with the read-only role alone, and keeps where it is otherwise.

It changes nothing in Amazon. A difference is accepted here, or put right by a run that is signed off as any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from django.db import transaction
from django.utils import timezone

from onboarding import audit
from onboarding.clients.amc import AmcClient
from onboarding.clients.aws import AwsClient
from onboarding.clients.failures import Fix, Later, RemoteFailure
from onboarding.engine.authority import MAY_ASK
from onboarding.engine.notices import people_with, tell, tell_account
from onboarding.guide.advertisers import Advertiser, note_advertisers
from onboarding.guide.bucket_calls import ENCRYPTION_PATH, NOT_CLOSED, NOT_ENCRYPTED
from onboarding.guide.compare import (
    ATTACHED,
    POLICY,
    SETTINGS,
    Fact,
    at_first_sight,
    believed,
    of_advertisers,
    of_membership,
    of_namespace,
    why_not_accept,
    words,
)
from onboarding.guide.join import note_membership
from onboarding.guide.leave import memberships
from onboarding.guide.plan import MISSING, dig
from onboarding.guide.results import REGION
from onboarding.models import (
    AwsConnection,
    CallRecord,
    Comparison,
    Difference,
    Expectation,
    IdNamespace,
    Instance,
    InstanceAdvertiser,
    MappingTable,
    Membership,
    Person,
    Step,
    StepState,
    locked,
)
from onboarding.services.access import authorize
from onboarding.services.errors import Refused
from onboarding.services.nightly import MOST_AT_ONCE, next_night, put_due, put_now

log = structlog.get_logger(__name__)
JOB = "onboarding.services.drift.compare_instance"
SESSION = "compare"
_K = Difference.Kind


# --- when


def put_due_comparisons(*, now: datetime, most: int = MOST_AT_ONCE) -> int:
    """Have workers compare the instances whose time has come, so many at once; how many. Any number of clocks may ask.

    An instance is compared once it has a membership.
    """
    fresh = Instance.objects.filter(
        gone_at=None, comparison=None, memberships__left_at=None, memberships__isnull=False
    ).distinct()
    Comparison.objects.bulk_create(
        [Comparison(instance_id=pk, next_at=next_night(pk, now=now)) for pk in fresh.values_list("pk", flat=True)],
        ignore_conflicts=True,
    )
    return put_due(Comparison.objects.filter(instance__gone_at=None), JOB, now=now, most=most)


def compare_instance(instance_id: int) -> None:
    """A job: compare one instance. What goes wrong is written to the log; the clock asks again."""
    instance = Instance.objects.select_related("account__connection").filter(pk=instance_id).first()
    if instance is None:
        return
    try:
        compare(instance, now=timezone.now())
    except (Later, Refused) as failure:
        log.info("instance not compared", instance=instance_id, why=type(failure).__name__)


def ask_now(*, person: Person, instance: Instance, now: datetime) -> None:
    """Have a worker compare an instance at once. Raises NotAllowed, or Refused when it was compared a moment ago."""
    authorize(person, instance.account, *MAY_ASK)
    if not memberships(instance):
        raise Refused("There is nothing to compare yet: the portal knows of no membership.")
    put_now(Comparison, JOB, instance, done_at="compared_at", now=now)


# --- reading


@dataclass
class _Seen:
    """What was read, and which parts were not."""

    facts: dict[Fact, Any] = field(default_factory=dict)
    # Subjects of which everything was read: a fact that is not among `facts` is not there.
    whole: set[tuple[str, str]] = field(default_factory=set)
    unread: list[dict[str, str]] = field(default_factory=list)
    memberships: dict[str, dict[str, Any]] = field(default_factory=dict)
    advertisers: list[Any] | None = None

    def missed(self, part: str, why: str) -> None:
        """Note that a part could not be read, and why."""
        self.unread.append({"part": part, "why": why})


def compare(instance: Instance, *, now: datetime) -> int:
    """Read everything that the portal believes of an instance, and keep the differences; how many are new.

    Raises Later when Amazon does not answer, Refused when a run changes the instance meanwhile: nothing is kept then.
    """
    rows = memberships(instance)
    seen = _Seen()
    _read_amc(instance, seen)
    for row in rows:
        _read_aws(instance, row, seen)
    with transaction.atomic():
        locked(Instance).get(pk=instance.pk)
        steps = Step.objects.filter(run__instance=instance)
        made = (CallRecord.Outcome.MADE, CallRecord.Outcome.ADOPTED)
        if (
            steps.filter(state=StepState.RUNNING).exists()
            or CallRecord.objects.filter(step__in=steps, outcome__in=made, finished_at__gte=now).exists()
        ):
            raise Refused("A run changes the instance just now.")
        new = _settle(instance, seen, now)
        Comparison.objects.update_or_create(
            instance=instance,
            defaults={"compared_at": now, "unread": seen.unread, "next_at": next_night(instance.pk, now=now)},
        )
        if new:
            _tell(instance, new, now)
    return len(new)


def _read_amc(instance: Instance, seen: _Seen) -> None:
    where = {"instanceId": instance.instance_id}
    try:
        client = AmcClient.of(instance.account)
        collaboration = client.call("getInstanceCollaboration", where).get("collaboration") or {}
        seen.facts[_K.COLLABORATION, "", "status"] = collaboration.get("status") or ""
        seen.advertisers = list(client.pages("getInstanceAdvertisers", where, "advertisers"))
        seen.facts[_K.ADVERTISERS, "", "advertisers"] = of_advertisers(seen.advertisers)
        if MappingTable.objects.filter(instance=instance).exists():
            tables = client.pages("listCollaborationIdMappingTables", where, "idMappingTables")
            seen.facts[_K.MAPPING, "", "tables"] = sorted(str(one.get("name") or "") for one in tables)
    except Later:
        raise
    except RemoteFailure as failure:
        seen.missed("What AMC says", failure.what)


def _read_aws(instance: Instance, row: Membership, seen: _Seen) -> None:
    part = f"AWS account {row.aws_account_id}"
    connection = AwsConnection.objects.working(instance.account).filter(aws_account_id=row.aws_account_id).first()
    if connection is None:
        seen.missed(part, "It is not connected.")
        return
    if not connection.reader_role_arn:
        seen.missed(part, "It was connected without the read-only role, and nothing else is used for this.")
        return
    try:
        found = _client(connection, "cleanrooms").call("GetMembership", {"membershipIdentifier": row.membership_id})[
            "membership"
        ]
    except Fix as failure:
        seen.missed(f"Membership of {part}", failure.what)
        return
    except Later:
        raise
    except RemoteFailure as failure:
        seen.missed(part, failure.what)
        return
    seen.memberships[row.membership_id] = found
    said = of_membership(found)
    seen.facts |= {(_K.MEMBERSHIP, row.membership_id, aspect): value for aspect, value in said.items()}
    if said["status"] != "ACTIVE":
        return
    # The role and bucket that are in use, and those that should be: both have to be in order.
    for role in sorted({said["role"], row.results_role_arn} - {""}):
        _part(seen, f"Role {role.rpartition('/')[2]}", _read_role, connection, role, seen)
    for namespace in IdNamespace.objects.filter(
        instance=instance, gone_at=None, aws_account_id=row.aws_account_id
    ).order_by("pk"):
        _part(seen, f"ID namespace {namespace}", _read_namespace, connection, row, namespace, seen)
    for bucket in sorted({said["bucket"], row.results_bucket} - {""}):
        _part(seen, f"Bucket {bucket}", _read_bucket, connection, bucket, seen)


def _part(seen: _Seen, part: str, read: Any, *args: Any) -> None:
    try:
        read(*args)
    except Fix as failure:
        seen.missed(part, failure.what)


def _client(connection: AwsConnection, service: str) -> AwsClient:
    return AwsClient(connection, service, session_name=SESSION, reading=True)


def _read_role(connection: AwsConnection, role: str, seen: _Seen) -> None:
    client, named = _client(connection, "iam"), {"RoleName": role.rpartition("/")[2]}
    try:
        trust: Any = client.call("GetRole", named)["Role"]["AssumeRolePolicyDocument"]
    except Fix as failure:
        if failure.code != "NoSuchEntity":
            raise
        seen.facts[_K.ROLE, role, "trust"] = None
        return
    facts: dict[Fact, Any] = {(_K.ROLE, role, "trust"): trust}
    for name in client.pages("ListRolePolicies", named, "PolicyNames"):
        answer = client.call("GetRolePolicy", {**named, "PolicyName": name})
        facts[_K.ROLE, role, f"{POLICY}{name}"] = answer["PolicyDocument"]
    for one in client.pages("ListAttachedRolePolicies", named, "AttachedPolicies"):
        facts[_K.ROLE, role, f"{ATTACHED}{one['PolicyArn']}"] = True
    seen.facts |= facts
    seen.whole.add((_K.ROLE, role))


def _read_namespace(connection: AwsConnection, row: Membership, namespace: IdNamespace, seen: _Seen) -> None:
    client = _client(connection, "entityresolution")
    try:
        found = client.call("GetIdNamespace", {"idNamespaceName": namespace.name})
    except Fix as failure:
        if failure.code != "ResourceNotFoundException":
            raise
        found = None
    facts: dict[Fact, Any] = {
        (_K.NAMESPACE, namespace.arn, aspect): value for aspect, value in of_namespace(found).items()
    }
    where = {"membershipIdentifier": row.membership_id}
    items = "idNamespaceAssociationSummaries"
    associated = _client(connection, "cleanrooms").pages("ListIdNamespaceAssociations", where, items)
    mine = (one for one in associated if dig(one, "inputReferenceConfig.inputReferenceArn") == namespace.arn)
    facts[_K.NAMESPACE, namespace.arn, "association"] = next((one.get("id") for one in mine), None)
    seen.facts |= facts


def _read_bucket(connection: AwsConnection, bucket: str, seen: _Seen) -> None:
    client, named = _client(connection, "s3"), {"Bucket": bucket}
    region = client.call("GetBucketLocation", named).get("LocationConstraint") or REGION
    closed = _or_none(client, "GetPublicAccessBlock", named, NOT_CLOSED)
    sealed = dig(_or_none(client, "GetBucketEncryption", named, NOT_ENCRYPTED), ENCRYPTION_PATH)
    governed = _client(connection, "lakeformation").pages("ListResources", {}, "ResourceInfoList")
    arn = f"arn:aws:s3:::{bucket}"
    in_lake = any(str(one.get("ResourceArn") or "").split("/")[0] == arn for one in governed)
    seen.facts[_K.BUCKET, bucket, "region"] = region
    seen.facts[_K.BUCKET, bucket, "public"] = closed.get("PublicAccessBlockConfiguration")
    seen.facts[_K.BUCKET, bucket, "encryption"] = None if sealed is MISSING else sealed
    seen.facts[_K.BUCKET, bucket, "lake-formation"] = in_lake


def _or_none(client: AwsClient, operation: str, params: dict[str, Any], missing: Iterable[str]) -> dict[str, Any]:
    try:
        return client.call(operation, params)
    except Fix as failure:
        if failure.code in missing:
            return {}
        raise


# --- what became of it


def _settle(instance: Instance, seen: _Seen, now: datetime) -> list[Difference]:
    """Write the differences and return the new ones; what is not known yet is taken over."""
    _take_over(instance, seen, now)
    rows = memberships(instance)
    wanted = believed(instance, rows)
    # What should be there and was not among everything that is.
    found = {
        **{fact: None for fact in wanted if fact[:2] in seen.whole and fact not in seen.facts},
        **seen.facts,
    }
    open_ones: dict[Fact, Difference] = {
        (_K(row.kind), row.subject, row.aspect): row for row in Difference.objects.open().filter(instance=instance)
    }
    new = []
    used = {(_K.ROLE, row.results_role_arn) for row in rows} | {(_K.BUCKET, row.results_bucket) for row in rows}
    known = {fact[:2] for fact in wanted}
    for fact, is_ in found.items():
        if fact[0] in (_K.ROLE, _K.BUCKET) and fact[:2] not in used:
            continue  # what somebody else put in its place: the membership's own difference says so
        if fact not in wanted and fact[0] in (_K.ROLE, _K.BUCKET):
            # Of a role that was looked at before, a policy that nobody knew of is one that came since.
            first = None if fact[0] == _K.ROLE and fact[:2] in known else at_first_sight(fact, is_)
            if first == is_:
                _expect(instance, fact, is_, now)
            wanted[fact] = first
        if fact not in wanted:
            continue
        row = open_ones.pop(fact, None)
        if is_ == wanted[fact]:
            if row is not None:
                _end(row, Difference.Ended.GONE, None, now)
        elif row is not None:
            row.expected, row.found, row.seen_at = wanted[fact], is_, now
            row.save(update_fields=["expected", "found", "seen_at"])
        else:
            new.append(
                Difference.objects.create(
                    instance=instance,
                    kind=fact[0],
                    subject=fact[1],
                    aspect=fact[2],
                    expected=wanted[fact],
                    found=is_,
                    since=now,
                    seen_at=now,
                )
            )
    for fact, row in open_ones.items():
        # Of what the portal no longer believes anything, or what is gone altogether, nothing differs.
        if fact not in wanted and (fact[:2] in seen.whole or fact[:2] not in known):
            _end(row, Difference.Ended.GONE, None, now)
    return new


def _expect(instance: Instance, fact: Fact, value: Any, now: datetime) -> None:
    kind, subject, aspect = fact
    row = Expectation(instance=instance, kind=kind, subject=subject, aspect=aspect, value=value, set_at=now)
    Expectation.objects.bulk_create([row], ignore_conflicts=True)


def _take_over(instance: Instance, seen: _Seen, now: datetime) -> None:
    """What the portal has never read is believed as it is: settings of memberships made elsewhere, advertisers."""
    for row in memberships(instance):
        answer = seen.memberships.get(row.membership_id)
        if answer and not row.results_bucket and not row.results_role_arn and of_membership(answer)["bucket"]:
            note_membership(instance, answer, row.aws_account_id, now)
    if seen.advertisers and not InstanceAdvertiser.objects.filter(instance=instance).exists():
        note_advertisers(instance, seen.advertisers, now)


def _end(row: Difference, how: str, person: Person | None, now: datetime) -> None:
    row.ended_at, row.ended, row.ended_by = now, how, person
    row.save(update_fields=["ended_at", "ended", "ended_by"])


def _tell(instance: Instance, new: list[Difference], now: datetime) -> None:
    told = {person.pk: person for person in people_with(instance.account, "admin")}
    if instance.owner is not None:
        told[instance.owner.pk] = instance.owner
    what = "\n".join(f"- {words(row.kind, row.aspect)}" for row in new)
    event, path = f"drift:{instance.pk}:{now.isoformat()}", f"/instances/{instance.pk}/differences/"
    subject = f"{instance}: something was changed outside the portal"
    text = f"This is otherwise in Amazon than the portal believes:\n{what}\nNothing was changed by the portal."
    tell(told.values(), event=event, subject=subject, text=text, path=path, now=now)
    tell_account(instance.account, event=event, subject=subject, text=text, path=path, now=now)


def accept(*, person: Person, difference: Difference, now: datetime) -> None:
    """Believe from now on what was found. Raises NotAllowed, or Refused where that makes no sense or it has ended."""
    account = difference.instance.account
    authorize(person, account, *MAY_ASK)
    with transaction.atomic():
        row = locked(Difference).select_related("instance").get(pk=difference.pk)
        if row.ended_at is not None:
            raise Refused("This difference has ended already.")
        reason = why_not_accept(row.kind, row.aspect, row.found)
        if reason:
            raise Refused(f"It can't be accepted as it is. {reason}")
        _believe(row, person, now)
        _end(row, Difference.Ended.ACCEPTED, person, now)
        audit.record(
            "difference.accepted",
            actor=person,
            account=account,
            subject=f"{words(row.kind, row.aspect)} ({row.instance})",
            subject_ref=f"instance:{row.instance_id}",
            details={"subject": row.subject, "before": row.expected, "after": row.found},
            now=now,
        )


def _believe(row: Difference, person: Person, now: datetime) -> None:
    if row.kind == _K.MEMBERSHIP:
        mine = Membership.objects.filter(instance=row.instance, membership_id=row.subject)
        if row.aspect == "status":
            mine.update(status=row.found, left_at=now, seen_at=now)
        elif row.aspect == "logging":
            mine.update(query_logging=row.found == "ENABLED", seen_at=now)
        else:
            mine.update(**{SETTINGS[row.aspect]: row.found, "seen_at": now})
    elif row.kind == _K.NAMESPACE:
        _believe_namespace(IdNamespace.objects.get(instance=row.instance, arn=row.subject), row, now)
    elif row.kind == _K.ADVERTISERS:
        listed = [Advertiser.of_key(key).as_sent() for key in row.found or []]
        note_advertisers(row.instance, listed, now)
    else:
        Expectation.objects.update_or_create(
            instance=row.instance,
            kind=row.kind,
            subject=row.subject,
            aspect=row.aspect,
            defaults={"value": row.found, "set_by": person, "set_at": now},
        )


def _believe_namespace(namespace: IdNamespace, row: Difference, now: datetime) -> None:
    if row.aspect == "there":
        namespace.gone_at = now
    elif row.aspect == "role":
        namespace.role_arn = str(row.found or "")
    else:
        found = str(row.found or "")
        namespace.association_arn = namespace.association_arn.replace(namespace.association_id, found) if found else ""
        namespace.association_id = found
        if not found:
            namespace.associated_at = None
    namespace.seen_at = now
    namespace.save()
