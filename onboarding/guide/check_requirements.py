"""Guide 3, "Requirements for AMC-AWS Clean Rooms set up": what people have to confirm before anything is made."""

from __future__ import annotations

from dataclasses import dataclass

from django import forms

from onboarding.guide.step import GuideStep, Question


@dataclass(frozen=True)
class Item:
    """One thing to confirm. A blocking one must be true; an advisory one may be left open."""

    key: str
    text: str
    blocking: bool = True


ELIGIBILITY = (
    Item("agreement", "Our Amazon DSP Master Service Agreement is signed"),
    Item("campaigns", "Campaigns are planned, or were live in the last 28 days"),
    Item("advertisers", "We know the DSP advertiser ids and Sponsored Ads ids to include"),
    Item("sql", "Somebody on the team can write SQL", blocking=False),
    Item("data", "We have first-party data to bring, or data already uploaded to AMC", blocking=False),
)
ACCESS = (
    Item("legal", "Security, legal and IT know that first-party data will be used", blocking=False),
    Item("aws_account", "We have an AWS account, and somebody in it with administrator rights"),
    Item("aws_services", "S3, Clean Rooms, Glue, Entity Resolution and IAM may be used in that account"),
    Item("two_buckets", "Results will go to another S3 bucket than the one that holds our data"),
)


class _Checklist(Question):
    items: tuple[Item, ...] = ()

    def clean(self) -> dict[str, object]:
        cleaned = super().clean() or self.cleaned_data
        for item in self.items:
            if item.blocking and not cleaned.get(item.key):
                self.add_error(item.key, f"“{item.text}” must be so before an instance can be made.")
        return cleaned

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        for item in cls.items:
            cls.base_fields[item.key] = forms.BooleanField(
                label=item.text, required=False, help_text="" if item.blocking else "Advised, not required"
            )


class Eligibility(_Checklist):
    """The guide's "Access to AMC"."""

    slug = "eligibility"
    heading = "Are you ready for AMC?"
    hint = "Tick what is true today. You can come back when the rest is settled."
    why = "Amazon turns away accounts that do not meet these, days later. Who ticked what, and when, is kept."
    items = ELIGIBILITY


class AwsReadiness(_Checklist):
    """The guide's "Access to AWS"."""

    slug = "aws"
    heading = "Is your AWS side ready?"
    hint = "Your AWS administrator can tell. Nothing is made in AWS by this answer."
    why = "The collaboration lives in your AWS account; without these it can't be joined."
    items = ACCESS


class CheckRequirements(GuideStep):
    """Guide 3: eligibility and access, confirmed by a named person."""

    key = "requirements"
    title = "Check the requirements"
    stage = "Before you start"
    section = "Guide 3: Requirements for AMC-AWS Clean Rooms set up"
    summary = "What Amazon asks for before an instance can be made."
    questions = (Eligibility, AwsReadiness)
    button = "Confirm the requirements"
    undo = "Can be changed at any time."
