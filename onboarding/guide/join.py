"""Guide 4, "Create membership": the results bucket and role, the membership, and both sides saying ACTIVE."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import forms
from django.utils.dateparse import parse_datetime

from onboarding.guide.aws_access import portal_acts, primary_account
from onboarding.guide.buckets import clean_bucket, clean_key, holds_data
from onboarding.guide.collaboration import note_collaboration
from onboarding.guide.differences import Sheet
from onboarding.guide.invitation import (
    find_collaboration,
    invitation,
    note_id,
    payment_of,
    pays,
    read_terms,
    terms_known,
)
from onboarding.guide.plan import Call, Look, Ref, Until
from onboarding.guide.results import bucket_calls, role_made, role_policy, role_trust
from onboarding.guide.roles import cleanrooms_trust, results_policy, role_arn, role_name
from onboarding.guide.step import GuideStep, Question, Situation
from onboarding.guide.verify import may_look, verification
from onboarding.models import CollaborationMember, Instance, Membership

_PREFIX = re.compile(r"[\w!.=*/-]{0,512}")
NEW, EXISTING = "new", "existing"


def clean_prefix(value: str) -> str:
    """A folder in a bucket, without slashes at its ends. Raises forms.ValidationError for anything else."""
    prefix = value.strip().strip("/")
    if not _PREFIX.fullmatch(prefix) or "//" in prefix:
        raise forms.ValidationError("Use letters, digits and - _ . ! = * only, with single slashes between folders.")
    return prefix


KEY_HINT = "Only if it is encrypted with a key of yours: the key's ARN. AMC's role may then use it to write."


class ResultsBucket(Question):
    """Where the query results go."""

    slug = "bucket"
    heading = "Which bucket receives the results?"
    hint = "It must be in us-east-1, and another bucket than the one that holds your data."
    why = "AMC writes the results of every query there. Amazon refuses the bucket that your data comes from."
    kind = forms.ChoiceField(
        label="The bucket",
        choices=[(NEW, "Make a new bucket: private and encrypted"), (EXISTING, "Use one that exists")],
        widget=forms.RadioSelect,
        initial=NEW,
    )
    name = forms.CharField(label="Bucket name", max_length=63)
    key = forms.CharField(label="KMS key of the existing bucket", required=False, max_length=300, help_text=KEY_HINT)

    def clean_name(self) -> str:
        name = clean_bucket(self.cleaned_data["name"].strip())
        refusal = holds_data(self.situation.account, primary_account(self.situation), name)
        if refusal:
            raise forms.ValidationError(refusal)
        return name

    def clean_key(self) -> str:
        if self.cleaned_data.get("kind") != EXISTING:
            return ""
        return clean_key(self.cleaned_data["key"], primary_account(self.situation))

    @classmethod
    def becomes(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
        return [("AWS account", primary_account(situation)), ("Region", "us-east-1")]


class ResultsShape(Question):
    """Prefix and format."""

    slug = "shape"
    heading = "How should the results be written?"
    hint = "The format can be changed later."
    why = "CSV opens anywhere. PARQUET is smaller and quicker for tools that can read it."
    format = forms.ChoiceField(
        label="Format",
        choices=[("CSV", "CSV"), ("PARQUET", "PARQUET")],
        widget=forms.RadioSelect,
        initial="CSV",
    )
    prefix = forms.CharField(label="Folder in the bucket", required=False, max_length=512, initial="amc")  # type: ignore[assignment]  # a field, not the form's own

    def clean_prefix(self) -> str:
        return clean_prefix(self.cleaned_data["prefix"])


class QueryLogging(Question):
    """`queryLogStatus`."""

    slug = "logging"
    heading = "Should AWS keep a log of the queries?"
    hint = "The log goes to CloudWatch in your account; AWS bills it there."
    why = "It shows who ran which query, if you have to prove it."
    logging = forms.ChoiceField(
        label="Query logging",
        choices=[("DISABLED", "No log"), ("ENABLED", "Keep a log in CloudWatch")],
        widget=forms.RadioSelect,
        initial="DISABLED",
    )


class PaymentConsent(Question):
    """An explicit yes when the collaboration makes this account pay for queries."""

    slug = "payment"
    heading = "Your AWS account pays for queries"
    hint = "The collaboration says that the member who joins now pays for the compute of its queries."
    why = "AWS bills the account, and the terms can't be changed by joining. Your yes is recorded with your name."
    consent = forms.BooleanField(
        label="We accept that our AWS account pays for queries in this collaboration",
        error_messages={"required": "Without this the collaboration can't be joined."},
    )

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        return pays(situation, primary_account(situation))


class PaymentTerms(Question):
    """The same question ahead of time, for whoever joins alone: the portal has not read the collaboration's terms."""

    slug = "payment-terms"
    heading = "May the collaboration make your AWS account pay for queries?"
    hint = (
        "Usually AMC pays. Only your account can read what this collaboration says; the commands stop if it is not so."
    )
    why = "AWS bills the account, and the terms can't be changed by joining. Your answer is recorded with your name."
    may = forms.TypedChoiceField(
        label="If the collaboration says that we pay",
        choices=[("no", "Stop: do not join"), ("yes", "Join: we accept that our AWS account pays for queries")],
        widget=forms.RadioSelect,
        coerce=lambda value: value == "yes",
        initial="no",
    )

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        return not portal_acts(situation) and not terms_known(situation)

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        return [("If we have to pay for queries", "Join" if answer.get("may") else "Do not join")]


def query_submitter(situation: Situation) -> str:
    """The membership id of AMC's query submitter, from the collaboration that AMC described."""
    member = CollaborationMember.objects.filter(
        instance=situation.instance, kind=CollaborationMember.Kind.QUERY_SUBMITTER
    ).first()
    return member.membership_id if member else ""


def instance_known(situation: Situation) -> Any:
    """The instance's id, or a reference to it while AMC has not given one."""
    return situation.instance.instance_id or situation.output("create-instance", "instance", "instance.instanceId")


def amc_active(situation: Situation, key: str = "active") -> Call:
    """Wait until AMC, too, says that the collaboration is active."""
    return Call(
        key=key,
        title="Wait until AMC says that the collaboration is active",
        service="amc",
        operation="getInstanceCollaboration",
        params={"instanceId": instance_known(situation)},
        effect="wait",
        until=Until(
            path="collaboration.status",
            done=("ACTIVE",),
            failed={
                "REJECTED": "The collaboration was rejected in AWS.",
                "DELETED": "The collaboration was deleted in AWS.",
            },
            give_up=14 * 86_400,
            usually="a few minutes after the membership is made",
        ),
    )


class JoinCollaboration(GuideStep):
    """Creates the membership of the primary account, with everything that it needs."""

    key = "join"
    title = "Join the collaboration"
    stage = "Join the collaboration"
    section = "Guide 4: Create membership"
    summary = "Where results go, and the membership of your AWS account."
    needs = ("invitation",)
    usually = "a few minutes"
    undo = "The collaboration can be left, but never joined again."
    questions = (ResultsBucket, ResultsShape, QueryLogging, PaymentTerms, PaymentConsent)

    def sheet(self, situation: Situation) -> Sheet | None:
        return invitation(situation)

    def act(self, situation: Situation) -> str:
        return f"Join collaboration “{situation.instance.collaboration_name}”"

    def plan(self, situation: Situation) -> list[Call]:
        if not portal_acts(situation):
            # What AMC says comes first: before that there is nothing to compare.
            account = primary_account(situation)
            if not may_look(situation, account):
                return [amc_active(situation)]
            whole = self.full_plan(situation)
            # The settings of the membership as well: it may have been made with others than were answered.
            settings = [call for call in whole if call.key == "joined"]
            found = [call for call in whole if call.key == "collaboration"]
            return [amc_active(situation), *found, *verification(whole), *settings]
        return self.full_plan(situation)

    def full_plan(self, situation: Situation) -> list[Call]:
        account = primary_account(situation)
        instance = situation.instance
        bucket = situation.answer(self.key, "bucket", "name")
        prefix = situation.answer(self.key, "shape", "prefix", "")
        key = situation.answer(self.key, "bucket", "key", "")
        name = role_name("results", instance.instance_id)
        submitter = query_submitter(situation)
        tags = [{"Key": "amc-portal-run", "Value": str(situation.run.pk)}]
        membership = Ref(self.key, "membership", "membership.id")
        trust = cleanrooms_trust(submitter, [f"arn:aws:cleanrooms:us-east-1:{account}:membership/*"])
        tight = cleanrooms_trust(submitter, [Ref(self.key, "membership", "membership.arn")])
        where = {"outputConfiguration": {"s3": self._results(situation)}, "roleArn": role_arn(account, name)}
        calls, collaboration = [], self._collaboration(situation)
        if isinstance(collaboration, Ref):
            calls.append(find_collaboration(situation, account))
        params: dict[str, Any] = {
            "collaborationIdentifier": collaboration,
            "queryLogStatus": situation.answer(self.key, "logging", "logging", "DISABLED"),
            "defaultResultConfiguration": where,
            "tags": {"amc-portal-run": str(situation.run.pk)},
        }
        if terms_known(situation):
            payment: Any = payment_of(situation, account)
        else:
            calls.append(read_terms(collaboration, account, "terms", may_pay=self._may_pay(situation)))
            payment = Ref(self.key, "terms", "member.paymentConfiguration")
        if payment:
            params["paymentConfiguration"] = payment
        calls += self._bucket(situation, account, bucket)
        calls += [
            role_made(
                account,
                name,
                trust,
                title_of=instance.instance_id,
                tags=tags,
                # Whoever acts alone need not have the policy, which the portal's template makes for its own roles.
                bounded=portal_acts(situation),
            ),
            role_policy(account, name, results_policy(bucket, prefix, account, key), where=f"s3://{bucket}/{prefix}"),
            Call(
                key="membership",
                title=f"Membership in “{instance.collaboration_name}”",
                service="cleanrooms",
                operation="CreateMembership",
                params=params,
                effect="create",
                account=account,
                look=Look(
                    operation="ListMemberships",
                    items="membershipSummaries",
                    where={"collaborationId": collaboration},
                    ignore={"status": ["REMOVED", "COLLABORATION_DELETED"]},
                    wrap="membership",
                ),
                undo="The collaboration can be left, but never joined again.",
            ),
            role_trust(account, name, tight, key="tighten"),
            Call(
                key="joined",
                title="Wait until AWS says that the membership is active",
                service="cleanrooms",
                operation="GetMembership",
                params={"membershipIdentifier": membership},
                effect="wait",
                account=account,
                until=Until(
                    path="membership.status",
                    done=("ACTIVE",),
                    failed={
                        "REMOVED": "The membership was removed from the collaboration.",
                        "COLLABORATION_DELETED": "The collaboration was deleted.",
                    },
                    usually="a few seconds",
                ),
            ),
            amc_active(situation),
        ]
        return calls

    def _collaboration(self, situation: Situation) -> str | Ref:
        """Its id; for whoever joins alone while AMC has not told it, what the commands find."""
        return situation.instance.collaboration_id or Ref(self.key, "collaboration", "collaboration.id")

    def _may_pay(self, situation: Situation) -> bool:
        return bool(situation.answer(self.key, PaymentTerms.slug, "may"))

    def _results(self, situation: Situation) -> dict[str, str]:
        results = {
            "resultFormat": situation.answer(self.key, "shape", "format", "CSV"),
            "bucket": situation.answer(self.key, "bucket", "name"),
        }
        prefix = situation.answer(self.key, "shape", "prefix", "")
        return {**results, "keyPrefix": prefix} if prefix else results

    def _bucket(self, situation: Situation, account: str, bucket: str) -> list[Call]:
        existing = situation.answer(self.key, "bucket", "kind") == EXISTING
        return bucket_calls(account, bucket, existing=existing, key=situation.answer(self.key, "bucket", "key", ""))

    def objection(self, situation: Situation) -> str:
        bucket = situation.answer(self.key, ResultsBucket.slug, "name", "")
        return holds_data(situation.account, primary_account(situation), bucket)

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        if call == "active":
            note_collaboration(situation.instance, output.get("collaboration", {}), now)
        elif call == "collaboration":
            note_id(situation, output)
        elif call in ("membership", "joined"):
            asked = situation.answers.get(self.key, {}).get(ResultsBucket.slug, {})
            keys = {asked.get("name", ""): asked.get("key", "")}
            note_membership(situation.instance, output.get("membership", {}), primary_account(situation), now, keys)


def note_membership(
    instance: Instance, seen: dict[str, Any], account: str, now: datetime, keys: Mapping[str, str] | None = None
) -> None:
    """Write a membership, as Clean Rooms describes it, into its row; `keys` says with which KMS key a bucket is sealed.

    What is known of the key of a bucket stays while results go there.
    """
    if not seen.get("id"):
        return
    fields: dict[str, Any] = {
        "instance": instance,
        "aws_account_id": account,
        "arn": seen.get("arn") or "",
        "status": seen.get("status") or "",
        "seen_at": now,
    }
    created = seen.get("createTime")
    if isinstance(created, str):
        fields["joined_at"] = parse_datetime(created)
    results = (seen.get("defaultResultConfiguration") or {}).get("outputConfiguration", {}).get("s3")
    if results:
        fields |= {
            "receives_results": True,
            "results_bucket": results.get("bucket", ""),
            "results_prefix": results.get("keyPrefix", ""),
            "results_format": results.get("resultFormat", ""),
            "results_role_arn": seen["defaultResultConfiguration"].get("roleArn", ""),
        }
        same = Membership.objects.filter(membership_id=seen["id"], results_bucket=fields["results_bucket"])
        kept = same.values_list("results_key", flat=True).first() or ""
        fields["results_key"] = (keys or {}).get(fields["results_bucket"], kept)
    if seen.get("queryLogStatus"):
        fields["query_logging"] = seen["queryLogStatus"] == "ENABLED"
    Membership.objects.update_or_create(membership_id=seen["id"], defaults=fields)
