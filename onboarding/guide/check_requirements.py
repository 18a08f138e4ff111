"""Guide 3, "Requirements for AMC-AWS Clean Rooms set up": what people have to confirm before anything is made."""

from __future__ import annotations

from django import forms

from onboarding.guide.step import GuideStep, Question


class Tick(forms.BooleanField):
    """One thing to confirm. A blocking one must be true; an advisory one may be left open."""

    def __init__(self, text: str, *, blocking: bool = True) -> None:
        super().__init__(label=text, required=False, help_text="" if blocking else "Advised, not required")
        self.blocking = blocking


class _Checklist(Question):
    def clean(self) -> dict[str, object]:
        cleaned = super().clean() or self.cleaned_data
        for name, field in self.fields.items():
            if isinstance(field, Tick) and field.blocking and not cleaned.get(name):
                self.add_error(name, f"“{field.label}” must be so before an instance can be made.")
        return cleaned


class Eligibility(_Checklist):
    """The guide's "Access to AMC"."""

    slug = "eligibility"
    heading = "Are you ready for AMC?"
    hint = "Tick what is true today. You can come back when the rest is settled."
    why = "Amazon turns away accounts that do not meet these, days later. Who ticked what, and when, is kept."

    agreement = Tick("Our Amazon DSP Master Service Agreement is signed")
    campaigns = Tick("Campaigns are planned, or were live in the last 28 days")
    advertisers = Tick("We know the DSP advertiser ids and Sponsored Ads ids to include")
    sql = Tick("Somebody on the team can write SQL", blocking=False)
    data = Tick(  # type: ignore[assignment]  # a field, not the form's own
        "We have first-party data to bring, or data already uploaded to AMC", blocking=False
    )


class AwsReadiness(_Checklist):
    """The guide's "Access to AWS"."""

    slug = "aws"
    heading = "Is your AWS side ready?"
    hint = "Your AWS administrator can tell. Nothing is made in AWS by this answer."
    why = "The collaboration lives in your AWS account; without these it can't be joined."

    legal = Tick("Security, legal and IT know that first-party data will be used", blocking=False)
    aws_account = Tick("We have an AWS account, and somebody in it with administrator rights")
    aws_services = Tick("S3, Clean Rooms, Glue, Entity Resolution and IAM may be used in that account")
    two_buckets = Tick("Results will go to another S3 bucket than the one that holds our data")


class CheckRequirements(GuideStep):
    """Guide 3: eligibility and access, confirmed by a named person."""

    key = "requirements"
    title = "Check the requirements"
    stage = "Before you start"
    section = "Guide 3: Requirements for AMC-AWS Clean Rooms set up"
    summary = "What Amazon asks for before an instance can be made."
    questions = (Eligibility, AwsReadiness)
    button = "Confirm the requirements"
    undo = "Can be changed until you confirm. Then it stays as it is, with your name and the time."
