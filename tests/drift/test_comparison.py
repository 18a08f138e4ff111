"""The nightly comparison: what it reads and as whom, what it finds, tells, keeps open and closes."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from onboarding.clients.failures import Later
from onboarding.models import (
    AwsConnection,
    Comparison,
    Difference,
    Expectation,
    IdNamespace,
    InstanceAdvertiser,
    Membership,
    Notice,
)
from onboarding.services import drift, nightly
from onboarding.services.errors import NotAllowed, Refused
from tests.drift.conftest import Drifting, by_the_template
from tests.engine.conftest import person
from tests.join.conftest import PRIMARY

pytestmark = pytest.mark.django_db
READ = ("Get", "List", "get", "list", "AssumeRole")


def test_it_only_reads_and_the_reader_role_is_enough(drifting, monkeypatch):
    AwsConnection.objects.update(provisioner_role_arn=f"arn:aws:iam::{PRIMARY}:role/nobody")
    seen = len(drifting.life.amazon.control("GET", "exchanges"))
    assert drifting.compare() == []
    made = drifting.life.amazon.control("GET", "exchanges")[seen:]
    operations = [one["operation"].partition(":")[2] for one in made]
    assert all(operation.startswith(READ) for operation in operations if "oken" not in operation), operations
    for operation in ("GetMembership", "GetRole", "GetRolePolicy", "GetPublicAccessBlock", "ListResources"):
        assert operation in operations
    comparison = Comparison.objects.get()
    assert (comparison.unread, comparison.compared_at) == ([], drifting.at)
    assert comparison.next_at > drifting.at


def test_what_somebody_changes_is_found_told_once_and_closed_when_it_is_gone(drifting):
    admin = person(drifting.life.account, "Ada", "admin")
    assert drifting.compare() == []
    s3, iam = drifting.client("s3"), drifting.client("iam")
    s3.create_bucket(Bucket="acme-elsewhere")
    name = {"RoleName": drifting.role}
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    before = iam.get_role_policy(**name, PolicyName="receive-results")["PolicyDocument"]
    iam.put_role_policy(**name, PolicyName="receive-results", PolicyDocument=json.dumps(everything))
    iam.put_role_policy(**name, PolicyName="more", PolicyDocument=json.dumps(everything))
    drifting.point_to("acme-elsewhere", resultFormat="PARQUET")
    s3.delete_public_access_block(Bucket="acme-old")
    drifting.client("lakeformation").register_resource(ResourceArn="arn:aws:s3:::acme-old/data")
    found = drifting.compare()
    assert [(row.kind, row.aspect) for row in found] == [
        ("bucket", "lake-formation"),
        ("bucket", "public"),
        ("membership", "bucket"),
        ("membership", "format"),
        ("role", "policy:more"),
        ("role", "policy:receive-results"),
    ]
    by = {row.aspect: (row.expected, row.found) for row in found}
    assert by["bucket"] == ("acme-old", "acme-elsewhere")
    assert by["policy:more"] == (None, everything)
    notice = Notice.objects.get(person=admin)
    assert "Bucket that receives results" in notice.text and notice.path.endswith("/differences/")
    since = {row.since for row in found}
    # The next night nothing is new: nobody is told again, and it is there since the first time.
    assert {row.since for row in drifting.compare()} == since
    assert Notice.objects.count() == 1
    iam.put_role_policy(**name, PolicyName="receive-results", PolicyDocument=json.dumps(before))
    iam.delete_role_policy(**name, PolicyName="more")
    drifting.point_to("acme-old", resultFormat="CSV")
    assert drifting.aspects() == [("bucket", "lake-formation"), ("bucket", "public")]
    assert set(Difference.objects.exclude(ended_at=None).values_list("ended", flat=True)) == {"gone"}


def test_a_role_that_is_gone_and_a_bucket_that_is_gone(drifting):
    drifting.compare()
    iam = drifting.client("iam")
    iam.delete_role_policy(RoleName=drifting.role, PolicyName="receive-results")
    iam.delete_role(RoleName=drifting.role)
    drifting.client("s3").delete_bucket(Bucket="acme-old")
    assert drifting.aspects() == [("role", "trust")]
    assert [one["part"] for one in Comparison.objects.get().unread] == ["Bucket acme-old"]


def test_what_could_not_be_read_stays_as_it_is_and_is_said(drifting):
    drifting.client("s3").delete_public_access_block(Bucket="acme-old")
    assert drifting.aspects() == [("bucket", "public")]
    AwsConnection.objects.update(reader_role_arn="")
    assert drifting.aspects() == [("bucket", "public")]
    assert "read-only role" in Comparison.objects.get().unread[0]["why"]


def test_advertisers_that_somebody_else_added(drifting):
    drifting.compare()
    life = drifting.life
    life.amc("POST", "/advertisers/updates", advertisersToAdd=[{"id": "123", "type": "DISPLAY"}])
    life.amazon.control("POST", "clock", advance=86_400)
    # What was never read is believed as it is; what comes later differs.
    assert drifting.compare() == []
    assert InstanceAdvertiser.objects.get().advertiser_id == "123"
    life.amc("POST", "/advertisers/updates", advertisersToAdd=[{"id": "456", "type": "DISPLAY"}])
    life.amazon.control("POST", "clock", advance=86_400)
    assert drifting.aspects() == [("advertisers", "advertisers")]


def test_it_keeps_nothing_when_amazon_is_away_or_a_run_is_at_work(drifting):
    drifting.life.amazon.rule("cleanrooms:GetMembership", kind="error", status=500)
    with pytest.raises(Later):
        drifting.compare()
    drifting.life.begin("advertisers")
    drifting.life.run.steps.filter(position=0).update(state="running", lease_until=timezone.now())
    with pytest.raises(Refused):
        drifting.compare()
    assert not Comparison.objects.exists()


def test_once_a_night_each_at_its_minute_and_by_one_clock(drifting, monkeypatch):
    put = []
    monkeypatch.setattr(nightly.queue, "put_job", lambda job, pk: put.append(pk) or True)
    noon = timezone.now().replace(hour=12, minute=0)
    drift.put_due_comparisons(now=noon)
    planned = Comparison.objects.get().next_at
    assert put == [] and timedelta(0) < planned - noon < timedelta(hours=18)
    assert 1 <= planned.hour < 5
    assert [drift.put_due_comparisons(now=planned) for _ in range(3)] == [1, 0, 0]
    drifting.at = planned - timedelta(days=1)
    drifting.compare()
    assert Comparison.objects.get().next_at == planned + timedelta(days=1)
    minutes = {nightly.next_night(pk, now=noon) for pk in range(50)}
    assert len(minutes) == 50


def test_the_night_is_a_setting_and_may_go_past_midnight(settings):
    settings.NIGHT_BEGINS, settings.NIGHT_HOURS = 22, 4
    at = timezone.now().replace(hour=0, minute=30, second=0, microsecond=0)
    begins = at.replace(hour=22, minute=0)
    nights = [nightly.next_night(pk, now=at) for pk in range(200)]
    tonight = [one for one in nights if one < begins]
    # What is left of the night that began yesterday, and the one that begins today.
    assert tonight and all(at < one <= at + timedelta(minutes=90) for one in tonight)
    rest = [one for one in nights if one >= begins]
    assert rest and all(one < begins + timedelta(hours=4) for one in rest)


def test_id_namespaces_and_their_associations(life, hung):
    by_the_template(life)
    row = Membership.objects.get()
    drifting = Drifting(life, row)
    rooms, resolution = drifting.client("cleanrooms"), drifting.client("entityresolution")
    where = {"membershipIdentifier": row.membership_id}
    seen = rooms.list_id_namespace_associations(**where)["idNamespaceAssociationSummaries"][0]
    role = f"arn:aws:iam::{PRIMARY}:role/service-role/amc-cleanrooms-entityresolution"
    namespace = IdNamespace.objects.create(
        instance=life.instance,
        aws_account_id=PRIMARY,
        name="people",
        arn=hung.namespace,
        role_arn=role,
        membership_id=row.membership_id,
        association_id=seen["id"],
        association_arn=seen["arn"],
        made_at=drifting.at,
        seen_at=drifting.at,
    )
    namespace.tables.create(database="amc", glue_table="people", schema_name="people")
    assert drifting.compare() == []
    assert Comparison.objects.get().unread == []
    # Somebody takes the association away, and then the ID namespace.
    made = life.amc("POST", "/collaboration/idmappingtables/list", maxResults=5).json()["idMappingTables"]
    for one in made:
        life.amc("DELETE", f"/collaboration/idmappingtables/{one['id']}")
    rooms.delete_id_namespace_association(idNamespaceAssociationIdentifier=seen["id"], **where)
    found = {row.aspect: row for row in drifting.compare()}
    assert list(found) == ["association"] and found["association"].found is None
    assert "ID namespace" in found["association"].get_kind_display()
    drift.accept(person=life.analyst, difference=found["association"], now=drifting.at)
    namespace.refresh_from_db()
    assert (namespace.association_id, namespace.associated_at) == ("", None)
    resolution.delete_id_namespace(idNamespaceName="people")
    found = {row.aspect: row for row in drifting.compare()}
    assert {aspect: row.found for aspect, row in found.items()} == {"there": False}
    drift.accept(person=life.analyst, difference=found["there"], now=drifting.at)
    namespace.refresh_from_db()
    assert namespace.gone_at == drifting.at
    assert drifting.compare() == []


def test_what_was_found_is_accepted(drifting):
    life = drifting.life
    drifting.client("s3").create_bucket(Bucket="acme-elsewhere")
    iam = drifting.client("iam")
    name = {"RoleName": drifting.role, "PolicyName": "receive-results"}
    wide = iam.get_role_policy(**name)["PolicyDocument"]
    wide["Statement"][1]["Resource"].append("arn:aws:s3:::acme-elsewhere/*")
    wide["Statement"][0]["Resource"].append("arn:aws:s3:::acme-elsewhere")
    iam.put_role_policy(**name, PolicyDocument=json.dumps(wide))
    drifting.point_to("acme-elsewhere")
    found = {row.aspect: row for row in drifting.compare()}
    assert sorted(found) == ["bucket", "policy:receive-results"]
    with pytest.raises(NotAllowed):
        drift.accept(person=life.approver, difference=found["bucket"], now=drifting.at)
    for row in found.values():
        drift.accept(person=life.analyst, difference=row, now=drifting.at)
    drifting.row.refresh_from_db()
    assert drifting.row.results_bucket == "acme-elsewhere"
    assert Expectation.objects.get(aspect="policy:receive-results").value == wide
    # Of the bucket that is believed now everything is looked at.
    rows = {row.aspect: row for row in drifting.compare()}
    assert sorted(rows) == ["encryption", "public"]
    with pytest.raises(Refused, match="must not be public"):
        drift.accept(person=life.analyst, difference=rows["public"], now=drifting.at)
    with pytest.raises(Refused, match="ended"):
        drift.accept(person=life.analyst, difference=found["bucket"], now=drifting.at)


def test_a_membership_that_was_left_elsewhere(drifting):
    drifting.compare()
    drifting.client("cleanrooms").delete_membership(membershipIdentifier=drifting.row.membership_id)
    found = {(row.kind, row.aspect): row for row in drifting.compare()}
    assert sorted(found) == [("collaboration", "status"), ("membership", "status")]
    drift.accept(person=drifting.life.analyst, difference=found["membership", "status"], now=drifting.at)
    drifting.row.refresh_from_db()
    assert drifting.row.left_at is not None
    assert drifting.compare() == []
