"""Guide 4, "Edit a membership": where results go, in which format, by which role, and whether queries are logged.

The role may write to the new place before the membership points there, and to the old one until after it does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms

from onboarding.guide.aws_access import PORTAL, WhoActs, primary_account
from onboarding.guide.buckets import clean_bucket, clean_key, holds_data
from onboarding.guide.join import EXISTING, KEY_HINT, NEW, QueryLogging, ResultsShape, note_membership, query_submitter
from onboarding.guide.leave import memberships
from onboarding.guide.plan import Call, Look, Until
from onboarding.guide.results import bucket_calls, role_bounded, role_made, role_policy, role_trust
from onboarding.guide.roles import PATH, cleanrooms_trust, results_policy, role_arn, role_name
from onboarding.guide.step import GuideStep, Question, Situation
from onboarding.guide.verify import may_look, not_seen, verification
from onboarding.models import Membership

KEEP, OURS, OTHER = "keep", "portal", "other"
_ROLE = re.compile(r"arn:aws:iam::(?P<account>\d{12}):role(?P<path>/(?:[\w+=,.@-]+/)*)(?P<name>[\w+=,.@-]{1,64})")
# What the portal's provisioner may hand to AWS.
_PASSABLE = f"{PATH}amc-cleanrooms-"
READ = "membership-now"
CHANGED = "changed"


@dataclass(frozen=True)
class Settings:
    """The settings of a membership that can be edited; `arn` is the membership's own."""

    account: str
    membership_id: str
    arn: str
    receives_results: bool
    bucket: str
    prefix: str
    format: str
    role_arn: str
    logging: str
    logging_allowed: bool = True
    # The KMS key of the customer's with which the bucket is encrypted, if it is one.
    key: str = ""

    @property
    def place(self) -> str:
        """Where results go, as an address."""
        return place(self.bucket, self.prefix)


def place(bucket: str, prefix: str) -> str:
    """`s3://bucket/prefix/`."""
    return f"s3://{bucket}/{prefix}/" if prefix else f"s3://{bucket}/"


def chosen(situation: Situation) -> Membership | None:
    """The membership that is edited; the primary account's where nobody had to choose."""
    wanted = situation.answer(READ, WhichMembership.slug, "which")
    rows = memberships(situation.instance)
    return next((row for row in rows if row.membership_id == wanted), None) if wanted else next(iter(rows), None)


def settings_now(situation: Situation) -> Settings:
    """The settings as they were when the run read them; before that, or where it can't, as the portal knows them."""
    row = chosen(situation)
    if row is None:
        # Nothing is known yet: what a plan for any membership looks like.
        account, bucket = primary_account(situation), "before"
        row = Membership(aws_account_id=account, membership_id="…", receives_results=True, results_bucket=bucket)
    seen = situation.outputs.get(READ, {})
    terms = seen.get("terms", {}).get("collaboration", {})
    found = seen.get("membership", {}).get("membership")
    account, arn = row.aws_account_id, f"arn:aws:cleanrooms:us-east-1:{row.aws_account_id}:membership/"
    results = {"bucket": row.results_bucket, "keyPrefix": row.results_prefix, "resultFormat": row.results_format}
    role, logging = row.results_role_arn, "ENABLED" if row.query_logging else "DISABLED"
    if found:
        where = found.get("defaultResultConfiguration") or {}
        results = (where.get("outputConfiguration") or {}).get("s3") or {}
        role, logging = where.get("roleArn") or "", found.get("queryLogStatus") or ""
    return Settings(
        account=account,
        membership_id=row.membership_id,
        arn=f"{arn}{row.membership_id}",
        receives_results=_receives(row, found, situation),
        bucket=results.get("bucket") or "",
        prefix=results.get("keyPrefix") or "",
        format=results.get("resultFormat") or "",
        role_arn=role,
        logging=logging,
        logging_allowed=terms.get("queryLogStatus", "ENABLED") == "ENABLED",
        key=row.results_key if results.get("bucket") == row.results_bucket else "",
    )


def _receives(row: Membership, found: Mapping[str, Any] | None, situation: Situation) -> bool:
    if found:
        return "CAN_RECEIVE_RESULTS" in (found.get("memberAbilities") or [])
    return row.receives_results or row.aws_account_id == situation.instance.aws_account_id


class WhichMembership(Question):
    """Which account's membership is edited, when there is more than one."""

    slug = "which"
    heading = "Whose membership do you want to change?"
    hint = "Only the account of the advertiser receives results; of a partner's, query logging can be changed."
    which = forms.ChoiceField(label="Which AWS account", widget=forms.RadioSelect)

    def __init__(self, *args: Any, situation: Situation, **kwargs: Any) -> None:
        super().__init__(*args, situation=situation, **kwargs)
        main = situation.instance.aws_account_id
        self.fields["which"].choices = [  # type: ignore[attr-defined]
            (
                row.membership_id,
                f"AWS account {row.aws_account_id} ({'the advertiser' if row.aws_account_id == main else 'a partner'})",
            )
            for row in memberships(situation.instance)
        ]

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        return bool(answers.get(cls.slug)) or len(memberships(situation.instance)) > 1


class WhoEdits(WhoActs):
    """The portal changes the membership, or the customer's own administrator does."""

    hint = "Without access the portal can't read the settings first, nor see afterwards what became of them."


class ReadSettings(GuideStep):
    """Reads the membership's settings, so that they stand in the questions as they are."""

    key = READ
    title = "Read the membership"
    stage = "Change the membership"
    section = "Guide 4: Edit a membership"
    summary = "The portal reads the settings as they are now. Nothing is changed yet."
    usually = "a few seconds"
    reads_only = True
    button = "Read the settings"
    questions = (WhichMembership, WhoEdits)

    def plan(self, situation: Situation) -> list[Call]:
        now = settings_now(situation)
        if not portal_edits(situation) and not may_look(situation, now.account):
            return []
        return self.full_plan(situation)

    def full_plan(self, situation: Situation) -> list[Call]:
        now = settings_now(situation)
        return [
            Call(
                key="membership",
                title=f"Read the membership of AWS account {now.account}",
                service="cleanrooms",
                operation="GetMembership",
                params={"membershipIdentifier": now.membership_id},
                account=now.account,
            ),
            Call(
                key="terms",
                title="Read what the collaboration allows",
                service="cleanrooms",
                operation="GetCollaboration",
                params={"collaborationIdentifier": situation.instance.collaboration_id},
                account=now.account,
            ),
        ]

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        if call == "membership":
            note_membership(situation.instance, output.get("membership", {}), settings_now(situation).account, now)


def portal_edits(situation: Situation) -> bool:
    """Whether the portal acts in the AWS account."""
    return bool(situation.answer(READ, WhoEdits.slug, "who") == PORTAL)


class _Present(Question):
    """A question in which the present value stands until it is answered."""

    def __init__(self, *args: Any, situation: Situation, **kwargs: Any) -> None:
        self.now = settings_now(situation)
        kwargs["initial"] = {**self.present(self.now), **(kwargs.get("initial") or {})}
        super().__init__(*args, situation=situation, **kwargs)

    @classmethod
    def present(cls, now: Settings) -> dict[str, Any]:
        """The settings as this form's initial values."""
        return {}

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        return settings_now(situation).receives_results


class NewBucket(_Present):
    """Where the query results go from now on."""

    slug = "bucket"
    heading = "Which bucket receives the results?"
    hint = "It must be in us-east-1, and another bucket than the one that holds your data."
    why = "AMC writes the results of every query there. What is in the old bucket stays there."
    kind = forms.ChoiceField(
        label="The bucket",
        choices=[
            (KEEP, "Leave it as it is"),
            (NEW, "Make a new bucket: private and encrypted"),
            (EXISTING, "Use another one that exists"),
        ],
        widget=forms.RadioSelect,
    )
    name = forms.CharField(label="Name of the new or other bucket", max_length=63, required=False)
    key = forms.CharField(label="KMS key of the existing bucket", required=False, max_length=300, help_text=KEY_HINT)

    def __init__(self, *args: Any, situation: Situation, **kwargs: Any) -> None:
        super().__init__(*args, situation=situation, **kwargs)
        field: Any = self.fields["kind"]
        there = [(KEEP, f"Leave it as it is: {self.now.bucket}")] if self.now.bucket else []
        field.choices = [*there, *field.choices[1:]]

    @classmethod
    def present(cls, now: Settings) -> dict[str, Any]:
        return {"kind": KEEP if now.bucket else NEW}

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        name = (cleaned.get("name") or "").strip()
        cleaned["name"] = "" if cleaned.get("kind") == KEEP else name
        if cleaned.get("kind") in (NEW, EXISTING):
            try:
                clean_bucket(name)
            except forms.ValidationError as error:
                self.add_error("name", error)
                return cleaned
            refusal = holds_data(self.situation.account, self.now.account, name)
            if refusal:
                self.add_error("name", refusal)
            if name == self.now.bucket:
                self.add_error("name", "Results go to this bucket already: choose “Leave it as it is”.")
        return cleaned

    def clean_key(self) -> str:
        if self.cleaned_data.get("kind") != EXISTING:
            return ""
        return clean_key(self.cleaned_data["key"], self.now.account)

    @classmethod
    def becomes(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
        return [("AWS account", settings_now(situation).account), ("Region", "us-east-1")]

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        words = {KEEP: "As it is", NEW: f"{answer.get('name')} (made new)", EXISTING: str(answer.get("name"))}
        return [("The bucket", words.get(str(answer.get("kind")), ""))]


class NewShape(_Present, ResultsShape):
    """Prefix and format from now on."""

    hint = "Results that are there already stay as they are."

    @classmethod
    def present(cls, now: Settings) -> dict[str, Any]:
        return {"format": now.format or "CSV", "prefix": now.prefix}


class NewRole(_Present):
    """The role with which AMC writes results."""

    slug = "role"
    heading = "Which role writes the results?"
    hint = "Its permissions have to fit the bucket. For its own role the portal sees to that."
    why = "AMC has no access to your account: Clean Rooms takes on this role when it delivers a result."
    kind = forms.ChoiceField(
        label="The role",
        choices=[
            (OURS, "The portal's own role: made if it is missing, its permissions follow the bucket"),
            (KEEP, "Leave it as it is"),
            (OTHER, "Another role, which you look after yourselves"),
        ],
        widget=forms.RadioSelect,
    )
    arn = forms.CharField(label="ARN of the other role", required=False, max_length=300)

    def __init__(self, *args: Any, situation: Situation, **kwargs: Any) -> None:
        super().__init__(*args, situation=situation, **kwargs)
        field: Any = self.fields["kind"]
        theirs = self.now.role_arn and self.now.role_arn != own_role(situation)
        kept = [(KEEP, f"Leave it as it is: {self.now.role_arn.rpartition('/')[2]}, which you look after yourselves")]
        field.choices = [field.choices[0], *(kept if theirs else []), field.choices[2]]

    @classmethod
    def present(cls, now: Settings) -> dict[str, Any]:
        return {"kind": KEEP if now.role_arn and "/amc-cleanrooms-results-" not in now.role_arn else OURS}

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        cleaned["arn"] = (cleaned.get("arn") or "").strip() if cleaned.get("kind") == OTHER else ""
        if cleaned.get("kind") != OTHER:
            return cleaned
        found = _ROLE.fullmatch(cleaned["arn"])
        if found is None:
            self.add_error("arn", "Give the ARN of a role, as arn:aws:iam::111122223333:role/service-role/NAME.")
        elif found["account"] != self.now.account:
            self.add_error("arn", f"The role has to belong to AWS account {self.now.account}.")
        elif portal_edits(self.situation) and not f"{found['path']}{found['name']}".startswith(_PASSABLE):
            self.add_error("arn", f"The portal may only hand over roles whose name begins with {_PASSABLE}")
        return cleaned

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        words = {OURS: "The portal's own", KEEP: "As it is", OTHER: str(answer.get("arn"))}
        return [("The role", words.get(str(answer.get("kind")), ""))]


class NewLogging(_Present, QueryLogging):
    """`queryLogStatus` from now on."""

    @classmethod
    def present(cls, now: Settings) -> dict[str, Any]:
        return {"logging": now.logging or "DISABLED"}

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        return True

    def clean_logging(self) -> str:
        value: str = self.cleaned_data["logging"]
        if value == "ENABLED" and not self.now.logging_allowed:
            raise forms.ValidationError("The collaboration was made without query logging; it can't be kept here.")
        return value


def own_role(situation: Situation) -> str:
    """The ARN of the role that the portal makes for the results of the instance."""
    return role_arn(settings_now(situation).account, role_name("results", situation.instance.instance_id))


class EditMembership(GuideStep):
    """Brings the membership to the answers: the new place is made and opened first, the old one closed last."""

    key = "membership"
    title = "Change the membership"
    stage = "Change the membership"
    section = "Guide 4: Edit a membership"
    summary = "Where results go, in which format, by which role, and the log of queries."
    needs = (READ,)
    usually = "a few seconds"
    undo = "Can be changed back at any time. Results that were written stay where they are."
    questions = (NewBucket, NewShape, NewRole, NewLogging)

    def act(self, situation: Situation) -> str:
        return f"Change the membership of AWS account {settings_now(situation).account}"

    def wanted(self, situation: Situation) -> Settings:
        """The settings that the answers ask for."""
        now = settings_now(situation)
        logging = situation.answer(self.key, NewLogging.slug, "logging", now.logging)
        bucket, prefix, shape, role, key = now.bucket, now.prefix, now.format, now.role_arn, now.key
        if now.receives_results:
            if situation.answer(self.key, NewBucket.slug, "kind", KEEP) != KEEP:
                bucket = situation.answer(self.key, NewBucket.slug, "name")
                key = situation.answer(self.key, NewBucket.slug, "key", "")
            prefix = situation.answer(self.key, NewShape.slug, "prefix", prefix) or ""
            shape = situation.answer(self.key, NewShape.slug, "format", shape)
            kind = situation.answer(self.key, NewRole.slug, "kind", KEEP)
            role = {OURS: own_role(situation), OTHER: situation.answer(self.key, NewRole.slug, "arn")}.get(kind, role)
        return Settings(
            now.account, now.membership_id, now.arn, now.receives_results, bucket, prefix, shape, role, logging, key=key
        )

    def objection(self, situation: Situation) -> str:
        now, wanted = settings_now(situation), self.wanted(situation)
        if wanted.bucket != now.bucket:
            return holds_data(situation.account, wanted.account, wanted.bucket)
        same = (now.prefix, now.format, now.role_arn, now.logging)
        if (wanted.prefix, wanted.format, wanted.role_arn, wanted.logging) == same:
            return "Nothing would change: every answer is as it is now."
        return ""

    def plan(self, situation: Situation) -> list[Call]:
        calls = self.full_plan(situation)
        if portal_edits(situation):
            return calls
        if not may_look(situation, settings_now(situation).account):
            return []
        now = settings_now(situation)
        # What the role may do only on the way is not there any more in the end.
        last = {(call.operation, call.params.get("RoleName")): call.key for call in calls}
        seen = verification(call for call in calls if last[call.operation, call.params.get("RoleName")] == call.key)
        return [*changed_by_others(now, self.wanted(situation)), *seen]

    def unseen(self, situation: Situation) -> str:
        account = settings_now(situation).account
        return "" if portal_edits(situation) or may_look(situation, account) else not_seen(account)

    def full_plan(self, situation: Situation) -> list[Call]:
        now, wanted = settings_now(situation), self.wanted(situation)
        before: list[Call] = []
        if wanted.bucket != now.bucket:
            existing = situation.answer(self.key, NewBucket.slug, "kind") == EXISTING
            before += bucket_calls(wanted.account, wanted.bucket, existing=existing, key=wanted.key)
        role, after = self._role(situation, now, wanted)
        return [*before, *role, *update_membership(now, wanted), *after]

    def _role(self, situation: Situation, now: Settings, wanted: Settings) -> tuple[list[Call], list[Call]]:
        """What is done to the role before the membership is changed, and after."""
        moved, other = wanted.place != now.place, wanted.role_arn != now.role_arn
        if wanted.role_arn != own_role(situation) or not (moved or other):
            return [], []
        account, name = wanted.account, wanted.role_arn.rpartition("/")[2]
        portal = portal_edits(situation)
        final = results_policy(wanted.bucket, wanted.prefix, account, wanted.key)
        calls: list[Call] = []
        if other:
            trust = cleanrooms_trust(query_submitter(situation), [wanted.arn])
            tags = [{"Key": "amc-portal-run", "Value": str(situation.run.pk)}]
            title_of = situation.instance.instance_id
            calls.append(role_made(account, name, trust, title_of=title_of, tags=tags, bounded=portal))
        if portal:
            # Joined by commands, the role is without it, and then the portal may not change what it may do.
            calls.append(role_bounded(account, name))
        if other:
            calls += [role_trust(account, name, trust), role_policy(account, name, final, where=wanted.place)]
            return calls, []
        old = results_policy(now.bucket, now.prefix, account, now.key)["Statement"]
        kept = [{**statement, "Sid": f"{statement['Sid']}Before"} for statement in old]
        both = {**final, "Statement": [*final["Statement"], *kept]}
        calls.append(role_policy(account, name, both, where=f"{wanted.place} as well"))
        title = f"What the role may do: no longer write to {now.place}"
        return calls, [role_policy(account, name, final, where=wanted.place, key="role-policy-after", title=title)]

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        # The row follows what is there, also while it is not yet what was asked for.
        if call in ("update", CHANGED):
            wanted = self.wanted(situation)
            keys = {wanted.bucket: wanted.key}
            note_membership(situation.instance, output.get("membership", {}), wanted.account, now, keys)


def update_membership(now: Settings, wanted: Settings) -> list[Call]:
    """The call that brings a membership from one state to the other, if they differ."""
    params: dict[str, Any] = {}
    same: dict[str, Any] = {}
    if wanted.logging != now.logging:
        params["queryLogStatus"] = same["membership.queryLogStatus"] = wanted.logging
    kept = (now.bucket, now.prefix, now.format, now.role_arn)
    if (wanted.bucket, wanted.prefix, wanted.format, wanted.role_arn) != kept:
        where = {"resultFormat": wanted.format, "bucket": wanted.bucket}
        path = "membership.defaultResultConfiguration"
        same |= {f"{path}.outputConfiguration.s3.{name}": value for name, value in where.items()}
        same[f"{path}.outputConfiguration.s3.keyPrefix"] = wanted.prefix or None
        same[f"{path}.roleArn"] = wanted.role_arn
        if wanted.prefix:
            where["keyPrefix"] = wanted.prefix
        params["defaultResultConfiguration"] = {"outputConfiguration": {"s3": where}, "roleArn": wanted.role_arn}
    if not params:
        return []
    identifier = {"membershipIdentifier": wanted.membership_id}
    return [
        Call(
            key="update",
            title=f"Membership of AWS account {wanted.account}: {_words(now, wanted)}",
            service="cleanrooms",
            operation="UpdateMembership",
            params={**identifier, **params},
            effect="update",
            account=wanted.account,
            look=Look(operation="GetMembership", params=identifier, same=same),
            undo="Can be changed back at any time.",
        )
    ]


def changed_by_others(now: Settings, wanted: Settings) -> list[Call]:
    """Waits until people have changed the membership: until the first setting that can be waited for is as wanted."""
    results = "membership.defaultResultConfiguration"
    where = f"{results}.outputConfiguration.s3"
    paths = (
        (f"{where}.bucket", now.bucket, wanted.bucket),
        (f"{results}.roleArn", now.role_arn, wanted.role_arn),
        (f"{where}.resultFormat", now.format, wanted.format),
        # Without a folder there is nothing to wait for at this path.
        (f"{where}.keyPrefix", now.prefix or None, wanted.prefix or now.prefix or None),
        ("membership.queryLogStatus", now.logging, wanted.logging),
    )
    return [
        Call(
            key=CHANGED,
            title=f"Wait until the membership of AWS account {wanted.account} is changed",
            service="cleanrooms",
            operation="GetMembership",
            params={"membershipIdentifier": wanted.membership_id},
            effect="wait",
            account=wanted.account,
            until=Until(
                path=path, done=(asked,), every=(60, 300, 900), give_up=30 * 86_400, usually="as soon as it is done"
            ),
        )
        for path, before, asked in paths
        if before != asked
    ][:1]


def _words(now: Settings, wanted: Settings) -> str:
    words = []
    if wanted.place != now.place:
        words.append(f"results go to {wanted.place}")
    if wanted.format != now.format:
        words.append(f"as {wanted.format}")
    if wanted.role_arn != now.role_arn:
        words.append(f"written by {wanted.role_arn.rpartition('/')[2]}")
    if wanted.logging != now.logging:
        words.append("queries are logged" if wanted.logging == "ENABLED" else "queries are not logged")
    return ", ".join(words)
