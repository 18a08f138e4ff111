"""Guide "Add or remove advertisers": which advertisers' signals an instance holds.

AMC takes at most ten advertisers a request and one request at a time, so that a longer list becomes a queue: wait until
no change is under way, ask for the next ten, wait for its end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from django import forms

from onboarding.guide.plan import Call, Look, Ref, Until
from onboarding.guide.step import GuideStep, Question, Situation
from onboarding.models import Instance, InstanceAdvertiser

MOST_A_REQUEST = 10
MOST_AN_INSTANCE = 2000
NOW, LATER = "now", "later"
_Type = InstanceAdvertiser.Type
_DSP = re.compile(r"[0-9]{1,20}")
_ENTITY = re.compile(r"ENTITY[A-Z0-9]{1,30}")
_MARKETPLACE = re.compile(r"[A-Z0-9]{5,20}")


@dataclass(frozen=True, order=True)
class Advertiser:
    """What identifies an advertiser; `marketplace` is empty for Amazon DSP."""

    type: str
    id: str
    marketplace: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.id, self.marketplace)))

    @property
    def key(self) -> str:
        """One text for a form's choice."""
        return f"{self.type}/{self.id}/{self.marketplace}"

    @classmethod
    def of_key(cls, key: str) -> Advertiser:
        """The advertiser of a `key`."""
        kind, _, rest = key.partition("/")
        name, _, marketplace = rest.partition("/")
        return cls(kind, name, marketplace)

    def as_sent(self) -> dict[str, str]:
        """The identifier as the specification has it: no marketplace for Amazon DSP."""
        sent = {"id": self.id, "type": self.type}
        return {**sent, "marketplaceId": self.marketplace} if self.marketplace else sent

    @classmethod
    def of_answer(cls, said: Mapping[str, Any]) -> Advertiser:
        """From an answer of AMC."""
        return cls(str(said.get("type") or ""), str(said.get("id") or ""), str(said.get("marketplaceId") or ""))


def present(instance: Instance) -> list[InstanceAdvertiser]:
    """The advertisers that the instance had when AMC was last asked."""
    return list(InstanceAdvertiser.objects.filter(instance=instance))


def _identity(row: InstanceAdvertiser) -> Advertiser:
    return Advertiser(row.type, row.advertiser_id, row.marketplace_id)


def _lines(text: str) -> list[list[str]]:
    return [words for line in re.split(r"[\n;,]", text) if (words := line.split())]


def to_add(answer: Mapping[str, Any]) -> list[Advertiser]:
    """The advertisers of the answer to `AdvertisersToAdd`, each once, in the order given."""
    found = [Advertiser(_Type.DISPLAY, word) for words in _lines(str(answer.get("dsp") or "")) for word in words]
    for words in _lines(str(answer.get("sponsored") or "")):
        marketplace = words[1] if len(words) > 1 else str(answer.get("marketplace") or "")
        found.append(Advertiser(_Type.SPONSORED_ADS, words[0], marketplace))
    return list(dict.fromkeys(found))


class WhenToAdd(Question):
    """Now, or later: the onboarding goes on without."""

    slug = "when"
    heading = "Do you want to add advertisers now?"
    hint = "Queries bring nothing until the instance has at least one advertiser. Joining does not wait for this."
    why = "AMC may look at a change for up to 2 business days, so it is good to ask early."
    when = forms.ChoiceField(
        label="Advertisers",
        choices=[(NOW, "Now"), (LATER, "Later, from the instance's page")],
        widget=forms.RadioSelect,
    )

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        return situation.run.procedure == "onboard"

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        return [("Add advertisers", "Later" if answer.get("when") == LATER else "Now")]


def _later(answers: Mapping[str, Mapping[str, Any]]) -> bool:
    return answers.get(WhenToAdd.slug, {}).get("when") == LATER


class AdvertisersToAdd(Question):
    """`advertisersToAdd`."""

    slug = "add"
    heading = "Which advertisers should be added?"
    hint = "One a line. What the instance has already is left out."
    why = (
        f"An instance holds at most {MOST_AN_INSTANCE:,} advertisers. AMC takes {MOST_A_REQUEST} a request and one "
        "request at a time; the portal sends the rest one after the other."
    )
    dsp = forms.CharField(
        label="Amazon DSP advertiser ids",
        help_text="Numbers, such as 123456789.",
        required=False,
        max_length=60_000,
        widget=forms.Textarea(attrs={"rows": 4}),
    )
    sponsored = forms.CharField(
        label="Sponsored Ads advertisers",
        help_text="Ids such as ENTITY1ABC. A marketplace after the id, such as ENTITY1ABC A1F83G8C2ARO7P, goes before "
        "the one below.",
        required=False,
        max_length=120_000,
        widget=forms.Textarea(attrs={"rows": 4}),
    )
    marketplace = forms.CharField(
        label="Marketplace of the Sponsored Ads advertisers",
        help_text="A marketplace id, such as ATVPDKIKX0DER for amazon.com.",
        required=False,
        max_length=20,
    )

    def __init__(self, *args: Any, situation: Situation, **kwargs: Any) -> None:
        super().__init__(*args, situation=situation, **kwargs)
        self.fields["marketplace"].initial = situation.account.marketplace_id

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        return not _later(answers)

    def clean_dsp(self) -> str:
        found = [word for words in _lines(self.cleaned_data["dsp"]) for word in words]
        wrong = [word for word in found if not _DSP.fullmatch(word)]
        if wrong:
            raise forms.ValidationError(f"An Amazon DSP advertiser id is a number. This is none: {wrong[0][:40]}")
        return "\n".join(dict.fromkeys(found))

    def clean_sponsored(self) -> str:
        found = _lines(self.cleaned_data["sponsored"])
        for words in found:
            if not _ENTITY.fullmatch(words[0]):
                raise forms.ValidationError(f"A Sponsored Ads id begins with ENTITY. This doesn't: {words[0][:40]}")
            if len(words) > 2 or not all(_MARKETPLACE.fullmatch(word) for word in words[1:]):
                raise forms.ValidationError(f"Give {words[0][:40]} one marketplace id, or none, on its line.")
        return "\n".join(dict.fromkeys(" ".join(words) for words in found))

    def clean_marketplace(self) -> str:
        value: str = self.cleaned_data["marketplace"].strip()
        if value and not _MARKETPLACE.fullmatch(value):
            raise forms.ValidationError("A marketplace id has capital letters and digits only, such as ATVPDKIKX0DER.")
        return value

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        added = to_add(cleaned)
        rows = present(self.situation.instance)
        if any(one.type == _Type.SPONSORED_ADS and not one.marketplace for one in added):
            self.add_error("marketplace", "Sponsored Ads advertisers need a marketplace.")
        if not added and not rows:
            self.add_error("dsp", "Give at least one advertiser.")
        count = len({_identity(row) for row in rows} | set(added))
        if count > MOST_AN_INSTANCE:
            raise forms.ValidationError(
                f"The instance would have {count:,} advertisers; AMC allows {MOST_AN_INSTANCE:,}. "
                "Remove some first, in a change of their own."
            )
        return cleaned

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        added = to_add(answer)
        rows = [
            (label, ", ".join(str(one) for one in added if one.type == kind))
            for label, kind in (("Add, Amazon DSP", _Type.DISPLAY), ("Add, Sponsored Ads", _Type.SPONSORED_ADS))
            if any(one.type == kind for one in added)
        ]
        return rows or [("Add", "None")]


class AdvertisersToRemove(Question):
    """`advertisersToRemove`."""

    slug = "remove"
    heading = "Which advertisers should be removed?"
    hint = "Leave all of them empty to remove none."
    why = "The instance loses the signals of an advertiser that is removed. It can be added again."
    remove = forms.MultipleChoiceField(label="Remove", required=False, widget=forms.CheckboxSelectMultiple)

    def __init__(self, *args: Any, situation: Situation, **kwargs: Any) -> None:
        super().__init__(*args, situation=situation, **kwargs)
        rows = present(situation.instance)
        choices = {_identity(row).key: f"{row} ({row.get_type_display()} {_identity(row)})" for row in rows}
        # What was chosen and is removed by now stays valid: it is left out of the plan.
        for key in situation.answer(ChangeAdvertisers.key, self.slug, "remove") or []:
            choices.setdefault(key, str(Advertiser.of_key(key)))
        self.fields["remove"].choices = list(choices.items())  # type: ignore[attr-defined]

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        if _later(answers):
            return False
        return bool(answers.get(cls.slug, {}).get("remove")) or bool(present(situation.instance))

    def clean_remove(self) -> list[str]:
        chosen: list[str] = self.cleaned_data["remove"]
        added = to_add(self.situation.answers.get(ChangeAdvertisers.key, {}).get(AdvertisersToAdd.slug, {}))
        both = {one.key for one in added} & set(chosen)
        if both:
            raise forms.ValidationError(f"To be added and removed at once: {Advertiser.of_key(min(both))}")
        if not chosen and not added:
            raise forms.ValidationError("Choose at least one to remove, or go back and name one to add.")
        return chosen

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        chosen = answer.get("remove") or []
        return [("Remove", ", ".join(str(Advertiser.of_key(key)) for key in chosen) or "None")]


def _read(situation: Situation, key: str) -> Call:
    return Call(
        key=key,
        title="Read the instance's advertisers",
        service="amc",
        operation="getInstanceAdvertisers",
        params={"instanceId": _instance(situation)},
        look=Look(
            operation="getInstanceAdvertisers",
            params={"instanceId": _instance(situation), "limit": 100},
            items="advertisers",
            several=True,
        ),
    )


def _instance(situation: Situation) -> Any:
    return situation.instance.instance_id or situation.output("create-instance", "instance", "instance.instanceId")


def note_advertisers(instance: Instance, listed: Iterable[Mapping[str, Any]], now: datetime) -> None:
    """Write the whole list, as AMC answered it, into the instance's rows."""
    rows = {}
    for said in listed:
        one = Advertiser.of_answer(said)
        rows[one] = InstanceAdvertiser(
            instance=instance,
            type=one.type,
            advertiser_id=one.id,
            marketplace_id=one.marketplace,
            name=str(said.get("name") or "")[:200],
            seen_at=now,
        )
    _keep(rows.values())
    InstanceAdvertiser.objects.filter(instance=instance).exclude(seen_at=now).delete()


def _keep(rows: Iterable[InstanceAdvertiser]) -> None:
    InstanceAdvertiser.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["instance", "type", "advertiser_id", "marketplace_id"],
        update_fields=["name", "seen_at"],
        batch_size=200,
    )


def _note_update(instance: Instance, update: Mapping[str, Any], now: datetime) -> None:
    """Take over an update that AMC has completed."""
    for said in update.get("advertisersToRemove") or []:
        one = Advertiser.of_answer(said)
        InstanceAdvertiser.objects.filter(
            instance=instance, type=one.type, advertiser_id=one.id, marketplace_id=one.marketplace
        ).delete()
    for said in update.get("advertisersToAdd") or []:
        one = Advertiser.of_answer(said)
        InstanceAdvertiser.objects.get_or_create(
            instance=instance,
            type=one.type,
            advertiser_id=one.id,
            marketplace_id=one.marketplace,
            defaults={"seen_at": now},
        )


class ReadAdvertisers(GuideStep):
    """Reads which advertisers the instance has now, so that they can be chosen from."""

    key = "advertisers-now"
    title = "Read the advertisers"
    stage = "Advertisers"
    section = "Guide 4: add advertisers to the instance"
    summary = "Which advertisers the instance has now."
    automatic = True
    usually = "a few seconds"

    def plan(self, situation: Situation) -> list[Call]:
        return [_read(situation, "advertisers")]

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        note_advertisers(situation.instance, output.get("advertisers") or [], now)


_REJECTED = "Amazon rejected the change of advertisers."
_ROUTES = (
    "The AMC account needs access to every advertiser, by one of two routes. Direct: the advertiser gives the AMC "
    "account access, in Amazon DSP or in its Sponsored Ads account. Partner: a call of the Amazon Ads API was made for "
    "the advertiser within the last 90 days; after the first one it takes 3 days until AMC knows. Then try again, or "
    "change the answers and leave the advertiser out."
)


class ReadNewAdvertisers(ReadAdvertisers):
    """The same within the onboarding: an instance that existed already may have some."""

    needs = ("create-instance",)


class ChangeAdvertisers(GuideStep):
    """Adds and removes advertisers, ten a request, one request after the other."""

    key = "advertisers"
    title = "Add or remove advertisers"
    stage = "Advertisers"
    section = "Guide 4: add advertisers to the instance"
    summary = "The advertisers whose signals the instance holds."
    needs = ("advertisers-now",)
    usually = "minutes for one; up to 2 business days for several at once, which Amazon reviews"
    undo = "Advertisers can be added and removed again at any time."
    questions: ClassVar[tuple[type[Question], ...]] = (WhenToAdd, AdvertisersToAdd, AdvertisersToRemove)

    def act(self, situation: Situation) -> str:
        added, removed = self.changes(situation)
        words = [f"add {len(added)}"] if added else []
        words += [f"remove {len(removed)}"] if removed else []
        if not words:
            return "Leave the advertisers as they are"
        count = len(added) or len(removed)
        text = " and ".join(words).capitalize()
        return f"{text} advertiser{'' if count == 1 and len(words) == 1 else 's'}"

    def changes(self, situation: Situation) -> tuple[list[Advertiser], list[Advertiser]]:
        """What is still to be added and removed, given what the instance has."""
        answers = situation.answers.get(self.key, {})
        if _later(answers):
            return [], []
        there = {_identity(row) for row in present(situation.instance)}
        removed = [Advertiser.of_key(key) for key in answers.get(AdvertisersToRemove.slug, {}).get("remove") or []]
        added = to_add(answers.get(AdvertisersToAdd.slug, {}))
        return [one for one in added if one not in there], [one for one in removed if one in there]

    def plan(self, situation: Situation) -> list[Call]:
        added, removed = self.changes(situation)
        # What is removed goes first: it makes room under the quota.
        wanted = [(one, False) for one in removed] + [(one, True) for one in added]
        chunks = [wanted[start : start + MOST_A_REQUEST] for start in range(0, len(wanted), MOST_A_REQUEST)]
        calls: list[Call] = []
        for number, chunk in enumerate(chunks, 1):
            calls += self._chunk(situation, number, len(chunks), chunk)
        # Read again once nothing else is under way: what a change of somebody else's has brought is known from then on.
        return [calls[0], _read(situation, "now"), *calls[1:]] if calls else []

    def _chunk(self, situation: Situation, number: int, of: int, chunk: list[tuple[Advertiser, bool]]) -> list[Call]:
        instance = _instance(situation)
        words = f" (request {number} of {of})" if of > 1 else ""
        added, removed = ([one for one, adds in chunk if adds is kind] for kind in (True, False))
        lists = {"advertisersToAdd": added, "advertisersToRemove": removed}
        updates = Look(
            operation="listAdvertiserUpdates",
            params={"instanceId": instance, "limit": 100},
            items="advertiserUpdates",
        )
        update = Ref(self.key, f"update-{number}", "advertiserUpdate.updateId")
        title = " and ".join(
            text
            for text in (
                f"remove {', '.join(map(str, removed))}" if removed else "",
                f"add {', '.join(map(str, added))}" if added else "",
            )
            if text
        )
        return [
            Call(
                key=f"free-{number}",
                title=f"Wait until no other change of the advertisers is under way{words}",
                service="amc",
                operation="listAdvertiserUpdates",
                params={"instanceId": instance, "limit": 100},
                effect="wait",
                until=Until(
                    path="advertiserUpdates.*.status",
                    done=("COMPLETED", "REJECTED"),
                    every=(15, 60, 300, 900),
                    give_up=7 * 86_400,
                    usually="up to 2 business days, if there is one",
                ),
            ),
            Call(
                key=f"before-{number}",
                title=f"Note the changes that were made before{words}",
                service="amc",
                operation="listAdvertiserUpdates",
                params={"instanceId": instance, "limit": 100},
                look=Look(operation=updates.operation, params=updates.params, items=updates.items, several=True),
            ),
            Call(
                key=f"update-{number}",
                title=f"Advertisers: {title}",
                service="amc",
                operation="createAdvertiserUpdate",
                params={
                    "instanceId": instance,
                    **{name: [one.as_sent() for one in ones] for name, ones in lists.items() if ones},
                },
                effect="create",
                look=Look(
                    operation=updates.operation,
                    params={"instanceId": instance},
                    items=updates.items,
                    # An earlier change with the same content is another one: only what came since may be ours.
                    ignore={
                        "updateId": Ref(self.key, f"before-{number}", "advertiserUpdates.*.updateId"),
                        "advertiserUpdate.status": ["REJECTED"],
                    },
                    where={
                        f"advertiserUpdate.{name}.*.id": [one.id for one in ones]
                        for name, ones in lists.items()
                        if ones
                    },
                    detail="getAdvertiserUpdate",
                    detail_param={"updateId": "updateId"},
                ),
                undo="Can be changed back at any time.",
            ),
            Call(
                key=f"done-{number}",
                title=f"Wait until AMC has made the change{words}",
                service="amc",
                operation="getAdvertiserUpdate",
                params={"instanceId": instance, "updateId": update},
                effect="wait",
                until=Until(
                    path="advertiserUpdate.status",
                    done=("COMPLETED",),
                    failed={"REJECTED": _REJECTED},
                    reason="advertiserUpdate.reason",
                    todo=_ROUTES,
                    every=(5, 15, 60, 300, 900),
                    give_up=7 * 86_400,
                    usually="minutes" if len(chunk) == 1 else "up to 2 business days: Amazon reviews several at once",
                ),
            ),
        ]

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        if call == "now":
            note_advertisers(situation.instance, output.get("advertisers") or [], now)
        elif call.startswith("done-"):
            update = output.get("advertiserUpdate", {})
            if update.get("status") == "COMPLETED":
                _note_update(situation.instance, update, now)
