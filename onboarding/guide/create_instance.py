"""Guide 4, "Create an AWS Clean Rooms backed AMC instance": `POST /amc/instances`, and waiting until it is there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django import forms
from django.db.models import Q
from django.utils.dateparse import parse_datetime

from onboarding.clients.failures import Fix
from onboarding.guide.plan import Call, Look, Ref, Until
from onboarding.guide.step import GuideStep, Question, Situation
from onboarding.models import AmcAccount, AwsConnection, CollaborationMember, Instance, InstanceStatus

if TYPE_CHECKING:
    from django.db.models import QuerySet

_NAME = re.compile(r"[A-Za-z0-9 _]{3,50}")
_ADVERTISER = re.compile(r"[A-Za-z0-9 ]+")
# What Clean Rooms takes as a member's name: a line of text.
_DISPLAY_NAME = re.compile(r"[\t\u0020-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]+")
_NOTED = (
    "instance_id",
    "name",
    "creation_status",
    "aws_account_id",
    "advertiser_name",
    "data_upload_aws_account_id",
    "api_endpoint",
    "created_in_amc_at",
    "collaboration_id",
    "collaboration_name",
    "seen_at",
)
_Kind = CollaborationMember.Kind
GONE = ("LEFT", "REMOVED")
"""What a member of a collaboration that is one no more is called."""
MOST_PARTNERS = 2  # the specification's maxItems of acrCustomerPartners


def clean_aws_account(value: str) -> str:
    """An AWS account id as 12 digits; blanks and dashes, as the console writes it, are taken out.

    Raises forms.ValidationError for anything else.
    """
    digits = re.sub(r"[\s-]", "", value)
    if not re.fullmatch(r"[0-9]{12}", digits):
        raise forms.ValidationError("An AWS account id has exactly 12 digits, such as 1234-5678-9012.")
    return digits


def clean_display_name(value: str) -> str:
    """A member's display name as Clean Rooms takes it. Raises forms.ValidationError for anything else."""
    if not _DISPLAY_NAME.fullmatch(value):
        raise forms.ValidationError("The display name has to be one line, without control characters.")
    return value


def name_taken(account: AmcAccount, name: str, but: int = 0) -> str:
    """Why an instance of the account can't be called `name`, or an empty text if it can; `but` is the one in question.

    The name of an onboarding that was cancelled is free again, unless AMC had made the instance by then.
    """
    free = Q(status=InstanceStatus.CANCELLED) & (Q(instance_id="") | Q(creation_status="FAILED"))
    there = Instance.objects.filter(account=account, name__iexact=name, gone_at=None).exclude(pk=but).exclude(free)
    if not there.exists():
        return ""
    return (
        f"{account} already has an instance called “{name}”. Choose another name, or open that instance and onboard it."
    )


class InstanceName(Question):
    """`instanceName`."""

    slug = "name"
    heading = "What should the instance be called?"
    hint = "People will see this name in AMC. 3 to 50 letters, digits, spaces or underscores."
    why = "AMC does not stop two instances from having one name; the portal does, so that nobody mixes them up."
    name = forms.CharField(
        label="Instance name",
        strip=True,
        min_length=3,
        max_length=50,
        error_messages={
            "min_length": "The name needs at least 3 characters.",
            "max_length": "The name may have 50 characters at most.",
        },
    )

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        # What AMC itself has is as it is.
        has = self.situation.instance.name if self.situation.instance.instance_id else ""
        if name != has and not _NAME.fullmatch(name):
            raise forms.ValidationError("Use English letters, digits, spaces and underscores only.")
        taken = name_taken(self.situation.account, name, self.situation.instance.pk or 0)
        if taken:
            raise forms.ValidationError(taken)
        return name


class AdvertiserName(Question):
    """`advertiserName`."""

    slug = "advertiser"
    heading = "Which advertiser is it for?"
    hint = "3 to 50 letters, digits and spaces. Leave it empty if the account has one advertiser only."
    why = "AMC shows it next to the instance. It can't begin or end with a space."
    name = forms.CharField(label="Advertiser name", required=False, max_length=200, strip=False)

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        has = self.situation.instance.advertiser_name if self.situation.instance.instance_id else ""
        if name in ("", has):
            return name
        if name != name.strip():
            raise forms.ValidationError("The advertiser name can't begin or end with a space.")
        if not _ADVERTISER.fullmatch(name):
            raise forms.ValidationError("Use English letters, digits and spaces only.")
        if len(name) < 3:
            raise forms.ValidationError("The advertiser name needs at least 3 characters, or none at all.")
        if len(name) > 50:
            raise forms.ValidationError("The advertiser name may have 50 characters at most.")
        return name


class PrimaryAccount(Question):
    """`awsAccountId`."""

    slug = "aws-account"
    heading = "Which AWS account will join the collaboration?"
    hint = "The 12 digits are at the top right of the AWS console, behind the account's name."
    why = "This account receives the query results, and it can't be changed once the collaboration is joined."
    account_id = forms.CharField(label="AWS account id", max_length=20)

    def __init__(self, *args: Any, situation: Situation, **kwargs: Any) -> None:
        super().__init__(*args, situation=situation, **kwargs)
        # Where one account only is connected, it is most likely the one.
        working = AwsConnection.objects.filter(account=situation.account, state=AwsConnection.State.WORKING)
        connected = list(working.values_list("aws_account_id", flat=True)[:2])
        if len(connected) == 1:
            self.fields["account_id"].initial = connected[0]

    def clean_account_id(self) -> str:
        return clean_aws_account(self.cleaned_data["account_id"])

    @classmethod
    def becomes(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
        return [("Region", "us-east-1, the only one that AMC on Clean Rooms supports today")]


class Parties(Question):
    """Single-party or multi-party."""

    slug = "parties"
    heading = "Does the data lie in more than one AWS account?"
    hint = "A partner's account, or a second account of your own, can bring data to the same collaboration."
    why = "Partners are invited when the instance is made. They can't be added to it later."
    multi = forms.TypedChoiceField(
        label="Where the data lies",
        choices=[("no", "One account: all the data is in the account that joins"), ("yes", "More than one account")],
        widget=forms.RadioSelect,
        coerce=lambda value: value == "yes",
    )

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        return [("Where the data lies", "More than one AWS account" if answer.get("multi") else "One AWS account")]


class Partners(Question):
    """`acrCustomerPartners`."""

    slug = "partners"
    heading = "Who else brings data?"
    hint = "Up to two more AWS accounts, each with a name that the others will see."
    why = "Each of them gets an invitation in AWS Clean Rooms and joins with a membership of its own."
    account_1 = forms.CharField(label="First partner: AWS account id", max_length=20)
    name_1 = forms.CharField(label="First partner: display name", max_length=100)
    account_2 = forms.CharField(label="Second partner: AWS account id", max_length=20, required=False)
    name_2 = forms.CharField(label="Second partner: display name", max_length=100, required=False)

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        return bool(answers.get(Parties.slug, {}).get("multi"))

    def clean_account_1(self) -> str:
        return clean_aws_account(self.cleaned_data["account_1"])

    def clean_account_2(self) -> str:
        value: str = self.cleaned_data["account_2"]
        return clean_aws_account(value) if value else ""

    def clean_name_1(self) -> str:
        return clean_display_name(self.cleaned_data["name_1"])

    def clean_name_2(self) -> str:
        value: str = self.cleaned_data["name_2"]
        return clean_display_name(value) if value else ""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        primary = self.situation.answer(CreateInstance.key, PrimaryAccount.slug, "account_id")
        first, second = cleaned.get("account_1"), cleaned.get("account_2")
        for number, value in (("1", first), ("2", second)):
            if value and value == primary:
                self.add_error(
                    f"account_{number}", "This is the account that joins. A partner needs an account of its own."
                )
        if first and first == second:
            self.add_error("account_2", "Both partners have the same account.")
        if second and not cleaned.get("name_2"):
            self.add_error("name_2", "Give the second partner a display name.")
        if cleaned.get("name_2") and not second and "account_2" not in self.errors:
            self.add_error("account_2", "Give the second partner's AWS account id, or clear its name.")
        name_1, name_2 = cleaned.get("name_1"), cleaned.get("name_2")
        if name_1 and name_2 and name_1.casefold() == name_2.casefold():
            self.add_error("name_2", "Both partners have the same display name; nobody could tell them apart.")
        return cleaned


def _others(situation: Situation) -> QuerySet[Instance]:
    return Instance.objects.filter(account=situation.account).exclude(pk=situation.instance.pk)


def _stands_already(other: Instance) -> str:
    return f"AMC has the instance “{other}” ({other.instance_id}) already, and it stands in the portal under Instances."


_INSTEAD = "Open it there and onboard it, or choose another name for this one."


_TOLD = {
    "awsAccountId": "AWS account",
    "customerCanonicalName": "Advertiser",
    "s3BucketName": "Bucket of its own (none if backed by AWS Clean Rooms)",
}


def _named(body: Mapping[str, Any]) -> dict[str, str]:
    # Where none is asked for, AMC takes the account's.
    return {"customerCanonicalName": body["advertiserName"]} if "advertiserName" in body else {}


def partners_wanted(body: Mapping[str, Any]) -> list[str]:
    """The AWS accounts that a request to create an instance names as partners, in order."""
    return sorted(str(partner["awsAccountId"]) for partner in body.get("acrCustomerPartners", []))


def _partners(instance: Instance) -> list[CollaborationMember] | None:
    members = list(CollaborationMember.objects.filter(instance=instance)) if instance.pk else []
    return [one for one in members if one.kind == _Kind.PARTNER and one.status not in GONE] if members else None


def known_partners(instance: Instance) -> list[str] | None:
    """The AWS accounts of the partners that are in an instance's collaboration; None where it was not read yet."""
    partners = _partners(instance)
    return None if partners is None else sorted(one.account_id for one in partners)


def parties_of(instance: Instance) -> dict[str, Any]:
    """The answers about partners that an instance's collaboration gives, as far as it was read."""
    partners = _partners(instance)
    if partners is None or len(partners) > MOST_PARTNERS:
        return {}
    multi = {Parties.slug: {"multi": bool(partners)}}
    if not partners:
        return multi
    named = {f"{name}_{number}": "" for name in ("account", "name") for number in range(1, MOST_PARTNERS + 1)}
    for number, one in enumerate(partners, 1):
        named |= {f"account_{number}": one.account_id, f"name_{number}": one.display_name}
    return {**multi, Partners.slug: named}


def in_words(accounts: Sequence[str]) -> str:
    """AWS accounts as people read them; "none" where there is none."""
    return ", ".join(accounts) or "none"


CREATED = Until(
    path="instance.creationStatus",
    # SUCCEEDED is the old name of COMPLETED.
    done=("COMPLETED", "SUCCEEDED"),
    failed={"FAILED": "AMC could not create the instance."},
    give_up=3 * 86_400,
    usually="about 30 minutes",
)


class CreateInstance(GuideStep):
    """Guide 4: creates the instance, and with it the collaboration in AWS Clean Rooms."""

    key = "create-instance"
    title = "Create the instance"
    stage = "Create the instance"
    section = "Guide 4: Create an AWS Clean Rooms backed AMC instance"
    summary = "Its name, its AWS account, and who else brings data."
    needs = ("amc-access",)
    usually = "about 30 minutes, up to a day"
    undo = "The instance can be deleted later, with all that is in it. Its partners can't be changed."
    questions = (InstanceName, AdvertiserName, PrimaryAccount, Parties, Partners)
    listed = ("creationStatus", CREATED)

    def act(self, situation: Situation) -> str:
        return f"Create instance “{situation.answer(self.key, 'name', 'name', situation.instance.name)}”"

    def payload(self, situation: Situation) -> dict[str, Any]:
        """The body of `POST /amc/instances`. `acrBacked` is a boolean, and there is never an `s3BucketName`."""
        body: dict[str, Any] = {
            "instanceName": situation.answer(self.key, "name", "name"),
            "awsAccountId": situation.answer(self.key, "aws-account", "account_id"),
            "acrBacked": True,
        }
        advertiser = situation.answer(self.key, "advertiser", "name")
        if advertiser:
            body["advertiserName"] = advertiser
        if situation.answer(self.key, "parties", "multi"):
            partners = situation.answers.get(self.key, {}).get("partners", {})
            body["acrCustomerPartners"] = [
                {"awsAccountId": partners[f"account_{number}"], "displayName": partners[f"name_{number}"]}
                for number in range(1, MOST_PARTNERS + 1)
                if partners.get(f"account_{number}")
            ]
        return body

    def plan(self, situation: Situation) -> list[Call]:
        body = self.payload(situation)
        made = Ref(self.key, "instance", "instance.instanceId")
        return [
            Call(
                key="instance",
                title=f"AMC instance “{body['instanceName']}”",
                service="amc",
                operation="createInstance",
                params=body,
                effect="create",
                look=Look(
                    operation="listInstances",
                    items="instances",
                    where={"instanceName": body["instanceName"]},
                    ignore={"creationStatus": ["FAILED"]},
                    same={"awsAccountId": body["awsAccountId"]},
                    # A bucket of its own has what is not backed by Clean Rooms. Partners are in no list: the step
                    # that follows the collaboration compares them.
                    alike={"s3BucketName": "", **_named(body)},
                    wrap="instance",
                ),
                token_param="idempotencyToken",  # noqa: S106 - the name of a parameter
                undo="Deleting the instance deletes everything in it.",
            ),
            Call(
                key="created",
                title="Wait until AMC has created it",
                service="amc",
                operation="getInstance",
                params={"instanceId": made},
                effect="wait",
                until=CREATED,
            ),
        ]

    def objection(self, situation: Situation) -> str:
        # The look would find it, and it can't be the instance of two onboardings.
        made = _others(situation).filter(gone_at=None).exclude(instance_id="").exclude(creation_status="FAILED")
        other = made.filter(name=situation.answer(self.key, "name", "name")).first()
        if other is not None:
            return f"{_stands_already(other)} {_INSTEAD}"
        if not self._is_there(situation) or not (unlike := self._unlike(situation)):
            return ""
        listed = "; ".join(f"{label}: {is_}, not {wanted}" for label, is_, wanted in unlike)
        return f"AMC has the instance “{situation.instance}” already, but it is different. {listed}."

    def _is_there(self, situation: Situation) -> bool:
        """Whether the run's own instance is in AMC, so that it will be found and not made."""
        instance = situation.instance
        there = bool(instance.instance_id) and instance.gone_at is None and instance.creation_status != "FAILED"
        return there and instance.name == situation.answer(self.key, "name", "name")

    def _unlike(self, situation: Situation) -> list[tuple[str, str, str]]:
        """Where what AMC has is known to be other than the answers: label, what it is, what was answered."""
        instance, body = situation.instance, self.payload(situation)
        found = []
        if instance.aws_account_id not in ("", body["awsAccountId"]):
            found.append(("AWS account", instance.aws_account_id, body["awsAccountId"]))
        advertiser = body.get("advertiserName", "")
        if advertiser and instance.advertiser_name and instance.advertiser_name.lower() != advertiser.lower():
            found.append(("Advertiser", instance.advertiser_name, advertiser))
        if instance.kind != Instance.Kind.COLLABORATION:
            found.append(("Backed by AWS Clean Rooms", "No", "Yes"))
        partners, wanted = known_partners(instance), partners_wanted(body)
        if partners is not None and partners != wanted:
            found.append(("Partners", in_words(partners), in_words(wanted)))
        return found

    def foresee(self, situation: Situation) -> dict[str, str]:
        return {"instance": "adopt" if self._is_there(situation) else "make"}

    def there(self, situation: Situation) -> dict[str, list[tuple[str, str]]]:
        if not self._is_there(situation):
            return {}
        instance, wanted = situation.instance, in_words(partners_wanted(self.payload(situation)))
        partners = known_partners(instance)
        later = f"Read from AMC before anything else is done; if not {wanted}, the onboarding stops"
        facts = [
            ("Name", instance.name),
            ("AMC instance id", instance.instance_id),
            ("AWS account", instance.aws_account_id),
            ("Backed by AWS Clean Rooms", "Yes" if instance.kind == Instance.Kind.COLLABORATION else "No"),
            ("Advertiser", instance.advertiser_name),
            ("Partners", later if partners is None else in_words(partners)),
        ]
        return {"instance": [(label, value) for label, value in facts if value]}

    def told(self, call: str, found: Any, differences: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**one, "path": _TOLD.get(one["path"], one["path"])} for one in differences]

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        seen = output.get("instance", {})
        instance = situation.instance
        found = seen.get("instanceId") or ""
        other = _others(situation).filter(instance_id=found).first() if found else None
        if other is not None:
            raise Fix(
                _stands_already(other),
                why="What AMC has made once can't be the instance of two onboardings.",
                who="Analyst",
                todo=_INSTEAD,
                code="StandsAlready",
            )
        instance.instance_id = found or instance.instance_id
        instance.name = seen.get("instanceName") or instance.name
        instance.creation_status = seen.get("creationStatus") or ""
        instance.aws_account_id = seen.get("awsAccountId") or instance.aws_account_id
        instance.advertiser_name = seen.get("customerCanonicalName") or instance.advertiser_name
        instance.data_upload_aws_account_id = seen.get("dataUploadAwsAccountId") or ""
        instance.api_endpoint = seen.get("apiEndpoint") or ""
        created = seen.get("creationDatetime")
        instance.created_in_amc_at = parse_datetime(created) if created else instance.created_in_amc_at
        collaboration = seen.get("acrCollaboration") or {}
        instance.collaboration_id = collaboration.get("id") or instance.collaboration_id
        instance.collaboration_name = collaboration.get("name") or instance.collaboration_name
        instance.seen_at = now
        instance.save(update_fields=_NOTED)
