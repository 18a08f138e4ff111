"""Putting right what the comparison found: the calls that bring Amazon back to what the portal believes, no others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from django import forms

from onboarding.guide.advertisers import Advertiser, ChangeAdvertisers
from onboarding.guide.aws_access import PORTAL, WhoActs
from onboarding.guide.bucket_calls import Bucket
from onboarding.guide.compare import POLICY, SETTINGS, why_not_right, words
from onboarding.guide.join import note_membership
from onboarding.guide.membership import Settings, update_membership
from onboarding.guide.plan import Call
from onboarding.guide.results import role_bounded, role_made, role_policy, role_trust
from onboarding.guide.step import GuideStep, Question, Situation
from onboarding.guide.verify import may_look, verification
from onboarding.models import Difference, Instance, Membership

_K = Difference.Kind


def rightable(instance: Instance) -> list[Difference]:
    """The open differences of an instance that a plan can put right (one query)."""
    rows = Difference.objects.open().filter(instance=instance)
    return [row for row in rows if not why_not_right(row.kind, row.subject, row.aspect, row.expected, row.found)]


class WhichDifferences(Question):
    """What is put right; the rest stays as it is."""

    slug = "which"
    heading = "What should be put right?"
    hint = "What you leave out stays as it is now, and stays listed."
    why = "Somebody may have changed it on purpose. Then accept it on the page of differences instead."
    which = forms.MultipleChoiceField(label="Differences", widget=forms.CheckboxSelectMultiple)

    def __init__(self, *args: Any, situation: Situation, **kwargs: Any) -> None:
        super().__init__(*args, situation=situation, **kwargs)
        field: Any = self.fields["which"]
        field.choices = [(str(row.pk), title(row)) for row in rightable(situation.instance)]

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        rows = Difference.objects.filter(pk__in=[one for one in answer.get("which") or [] if str(one).isdigit()])
        return [("Put right", ", ".join(title(row) for row in rows))]


def title(row: Difference) -> str:
    """A difference in one line, with what it is about."""
    subject = row.subject.rpartition("/")[2]
    text = words(row.kind, row.aspect)
    return f"{text} ({subject})" if subject and row.kind in (_K.ROLE, _K.BUCKET) else text


class WhoPutsRight(WhoActs):
    """The portal, or the customer's own administrator."""


def picked(situation: Situation) -> list[Difference]:
    """The differences that were picked, whatever has become of them since."""
    wanted = situation.answer(PutRight.key, WhichDifferences.slug, "which") or []
    keys = [int(one) for one in wanted if str(one).isdigit()]
    return list(Difference.objects.filter(pk__in=keys, instance=situation.instance).order_by("pk"))


class PutRight(GuideStep):
    """Brings membership, role and bucket back, and only what was picked of them."""

    key = "put-right"
    title = "Put it right"
    stage = "Put it right"
    section = "Guide 4: Edit a membership"
    summary = "What was changed outside the portal is changed back, as far as you pick it."
    usually = "a few seconds"
    undo = "Can be changed again at any time."
    questions = (WhichDifferences, WhoPutsRight)

    def act(self, situation: Situation) -> str:
        count = len(picked(situation))
        return f"Put {count} difference{'' if count == 1 else 's'} right"

    def plan(self, situation: Situation) -> list[Call]:
        calls = self.full_plan(situation)
        if self._portal(situation):
            return calls
        accounts = {call.account for call in calls}
        return [
            call
            for account in sorted(accounts)
            if may_look(situation, account)
            for call in verification(one for one in calls if one.account == account)
        ]

    @staticmethod
    def _portal(situation: Situation) -> bool:
        return bool(situation.answer(PutRight.key, WhoPutsRight.slug, "who") == PORTAL)

    def full_plan(self, situation: Situation) -> list[Call]:
        rows = picked(situation)
        members = list(Membership.objects.filter(instance=situation.instance).order_by("pk"))
        calls: list[Call] = []
        # The role and the bucket first: the membership is only pointed to what can take results.
        for row in rows:
            if row.kind == _K.BUCKET:
                owner = next((one for one in members if one.results_bucket == row.subject), None)
                if owner is not None:
                    bucket = Bucket(owner.aws_account_id, row.subject)
                    make = bucket.closed if row.aspect == "public" else bucket.encrypted
                    calls.append(_of(row, make(make=True)))
        for subject in dict.fromkeys(row.subject for row in rows if row.kind == _K.ROLE):
            theirs = [row for row in rows if (row.kind, row.subject) == (_K.ROLE, subject)]
            calls += self._role(situation, subject, theirs)
        for member in members:
            theirs = [row for row in rows if (row.kind, row.subject) == (_K.MEMBERSHIP, member.membership_id)]
            if theirs:
                calls += [_of(theirs[0], call) for call in _membership(member, theirs)]
        return calls

    def _role(self, situation: Situation, arn: str, rows: list[Difference]) -> list[Call]:
        account, name = arn.split(":")[4], arn.rpartition("/")[2]
        portal, calls = self._portal(situation), []
        for row in sorted(rows, key=lambda one: one.aspect, reverse=True):
            expected: dict[str, Any] = row.expected or {}
            if row.aspect == "trust" and row.found is None:
                tags = [{"Key": "amc-portal-run", "Value": str(situation.run.pk)}]
                of = situation.instance.instance_id
                calls.append(_of(row, role_made(account, name, expected, title_of=of, tags=tags, bounded=portal)))
            elif row.aspect == "trust":
                calls.append(_of(row, role_trust(account, name, expected)))
            elif row.aspect.startswith(POLICY):
                if portal:
                    calls.append(_of(row, role_bounded(account, name)))
                calls.append(_of(row, role_policy(account, name, expected, where="the results bucket")))
        return calls

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        what, _, number = call.rpartition("-")
        if what == "boundary" or not number.isdigit():
            return
        row = Difference.objects.filter(pk=int(number), instance=situation.instance).first()
        if row is None:
            return
        mended = Difference.objects.open().filter(pk=row.pk)
        if row.kind == _K.MEMBERSHIP:
            account = Membership.objects.values_list("aws_account_id", flat=True).get(membership_id=row.subject)
            note_membership(situation.instance, output.get("membership", {}), account, now)
            mended = Difference.objects.open().filter(
                pk__in=[one.pk for one in picked(situation) if (one.kind, one.subject) == (row.kind, row.subject)]
            )
        mended.update(ended_at=now, ended=Difference.Ended.PUT_RIGHT)


def _of(row: Difference, call: Call) -> Call:
    """The call under a key that says which difference it mends."""
    return replace(call, key=f"{call.key}-{row.pk}")


def _membership(member: Membership, rows: list[Difference]) -> list[Call]:
    """The call that brings the picked settings back; the others stay as they were found."""
    every = Difference.objects.open().filter(instance=member.instance_id, kind=_K.MEMBERSHIP, subject=rows[0].subject)
    believed = {aspect: getattr(member, name) for aspect, name in SETTINGS.items()}
    believed["logging"] = "ENABLED" if member.query_logging else "DISABLED"
    found = {**believed, **{row.aspect: row.found for row in (*every, *rows) if row.aspect in believed}}
    wanted = {**found, **{row.aspect: row.expected for row in rows if row.aspect in believed}}
    now, then = (_settings(member, values) for values in (found, wanted))
    return update_membership(now, then)


def _settings(member: Membership, values: Mapping[str, Any]) -> Settings:
    return Settings(
        account=member.aws_account_id,
        membership_id=member.membership_id,
        arn=member.arn,
        receives_results=member.receives_results,
        bucket=values["bucket"],
        prefix=values["prefix"],
        format=values["format"],
        role_arn=values["role"],
        logging=values["logging"],
    )


class PutAdvertisersRight(ChangeAdvertisers):
    """Adds the advertisers that somebody removed, and removes those that somebody added."""

    key = "put-right-advertisers"
    title = "Put the advertisers right"
    stage = "Put it right"
    summary = "Advertisers that were added or removed outside the portal are changed back."
    needs = ("put-right",)
    questions = ()

    def applies(self, situation: Situation) -> bool:
        return any(row.kind == _K.ADVERTISERS for row in picked(situation))

    def changes(self, situation: Situation) -> tuple[list[Advertiser], list[Advertiser]]:
        for row in picked(situation):
            if row.kind == _K.ADVERTISERS:
                expected, found = ({Advertiser.of_key(key) for key in keys or []} for keys in (row.expected, row.found))
                return sorted(expected - found), sorted(found - expected)
        return [], []

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        super().note(situation, call, output, now)
        if call.startswith("done-"):
            rows = [row.pk for row in picked(situation) if row.kind == _K.ADVERTISERS]
            Difference.objects.open().filter(pk__in=rows).update(ended_at=now, ended=Difference.Ended.PUT_RIGHT)
