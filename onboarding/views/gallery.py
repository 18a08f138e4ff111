"""Every component on made-up content, for whoever builds pages; it exists only with DEBUG."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cached_property
from types import SimpleNamespace
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from onboarding.models import AmcAccount, InstanceStatus, Person, RequestState, RoleName, StepState
from onboarding.views.components import Document, PlanEntry, Row, Stage, Tab, Task, TaskGroup, Tile
from onboarding.views.shell import Entry, Shell
from portal.forms import ConfirmByName, described

MADE_UP_PAGES = ("question", "radios", "errors", "partners", "confirm", "empty", "sign-in", "run")


class ExampleShell(Shell):
    """The frame as an admin of two accounts sees it, without a database."""

    @property
    def person(self) -> Person | None:
        return Person(name="Maria Okafor", email="maria@acme.example")

    @cached_property
    def _roles(self) -> tuple[list[AmcAccount], dict[str, set[int]]]:
        names = ["Acme", "Beacon Outdoor", "Corvid Coffee", *(f"Client {number}" for number in range(4, 12))]
        accounts = [
            AmcAccount(pk=number, name=name, entity_id=f"ENTITY{number:0>10}") for number, name in enumerate(names, 1)
        ]
        return accounts, {name: {account.pk for account in accounts} for name in RoleName.values}

    @cached_property
    def account(self) -> AmcAccount | None:
        return self.accounts[0]

    @cached_property
    def navigation(self) -> list[Entry]:
        return [
            Entry("home", "Home", "home", "#home", current=False),
            Entry("instances", "Instances", "layers", "#instances", current=True),
            Entry("requests", "Requests", "inbox", "#requests", current=False, count=3),
        ]

    @cached_property
    def admin_navigation(self) -> list[Entry]:
        return [
            Entry("connections", "Connections", "plug", "#connections", current=False),
            Entry("people", "People", "people", "#people", current=False),
            Entry("audit", "Audit", "scroll", "#audit", current=False),
        ]

    @property
    def urls(self) -> dict[str, str]:
        here = "/gallery/"
        return {**super().urls, "account_in_view": here, "search": here, "sign_out": here, "home": here}


class FilterForm(forms.Form):
    """A filter bar."""

    q = forms.CharField(label="Name or id", required=False, widget=forms.SearchInput)
    status = forms.ChoiceField(label="Status", required=False, choices=[("", "Any"), *InstanceStatus.choices])
    kind = forms.ChoiceField(label="Kind", required=False, choices=[("", "Any"), ("C", "Collaboration")])


class NameForm(forms.Form):
    """A question with one text."""

    name = forms.CharField(
        label="What shall the instance be called?",
        help_text="People will look for it by this name. Letters, digits and dashes.",
        max_length=60,
        initial="acme-us",
    )


class KindForm(forms.Form):
    """A question with choices."""

    kind = forms.ChoiceField(
        label="Who works together in this instance?",
        help_text="You cannot change it later.",
        widget=forms.RadioSelect,
        choices=[
            ("single", described("Only this advertiser", "One AWS account joins the collaboration.")),
            ("multi", described("This advertiser and partners", "Each partner joins with an AWS account of its own.")),
        ],
    )


class DetailsForm(forms.Form):
    """Every kind of control."""

    account = forms.CharField(label="AWS account id", help_text="12 digits, without dashes.", max_length=12)
    advertiser = forms.CharField(label="Advertiser name", required=False)
    marketplace = forms.ChoiceField(label="Marketplace", choices=[("", "Choose one"), ("us", "United States")])
    reason = forms.CharField(label="Reason", widget=forms.Textarea, required=False)
    columns = forms.MultipleChoiceField(
        label="Which identity columns will you bring?",
        widget=forms.CheckboxSelectMultiple,
        choices=[("email", described("E-mail address", "Matches best.")), ("phone", "Phone number")],
    )
    agree = forms.BooleanField(label="I have checked these with the AWS administrator")

    def clean_account(self) -> str:
        account: str = self.cleaned_data["account"]
        if not (account.isdigit() and len(account) == 12):
            raise forms.ValidationError(
                "An AWS account id has 12 digits. You typed " + str(len(account)) + " characters."
            )
        return account


class PartnerForm(forms.Form):
    """One partner of a multi-party collaboration."""

    part_title = "Partner"
    account = forms.CharField(label="AWS account id", max_length=12)
    display_name = forms.CharField(label="Display name", help_text="How the others see this partner.", max_length=100)


def _tasks(now: datetime) -> list[TaskGroup]:
    return [
        TaskGroup(
            "Before you start",
            [
                Task("Check access to AMC", "done", "#a", who="Maria", when=now - timedelta(days=9)),
                Task("Check access to AWS", "done", "#b", who="Priya", when=now - timedelta(days=8)),
            ],
        ),
        TaskGroup(
            "Create the instance",
            [
                Task("Choose name, account and partners", "done", "#c", who="Maria", when=now - timedelta(days=3)),
                Task("Create the instance in AMC", "running", "#d", done_of=(3, 5)),
                Task("Add advertisers", "amazon", "#e", usually="2 business days", when=now - timedelta(hours=5)),
                Task("Choose where results go", "awaiting_approval", "#f", status_text="Waiting for Priya to approve"),
            ],
        ),
        TaskGroup(
            "Bring identity data",
            [
                Task("Choose and check files", "ready", "#g"),
                Task("Make the results bucket", "failed", "#h", hint="The bucket is in eu-west-1", who="Maria"),
                Task("Map columns", "blocked", hint="Needs files that have been checked"),
            ],
        ),
    ]


TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "cleanrooms.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}

PLAN = [
    PlanEntry(
        "make",
        "IAM role",
        "/service-role/amc-cleanrooms-results-acme",
        detail="Lets Clean Rooms write results into the bucket, and nothing else.",
        call="IAM CreateRole",
        documents=[Document("Trust policy", TRUST), Document("Permissions policy", TRUST)],
    ),
    PlanEntry(
        "make",
        "Membership",
        "in AMC amc11111111",
        call="CleanRooms CreateMembership",
        facts=[("Results", "s3://acme-amc-results/amc/"), ("Format", "PARQUET"), ("Query costs", "paid by AMC")],
    ),
    PlanEntry("exists", "Bucket", "acme-amc-results", detail="us-east-1, private, encrypted", call="S3 HeadBucket"),
    PlanEntry(
        "change",
        "Bucket policy",
        "acme-amc-results",
        call="S3 PutBucketPolicy",
        difference=[("Who may write", "nobody", "the role above"), ("Encryption", "none", "SSE-S3")],
    ),
    PlanEntry("same", "Tags", "on the bucket", call="S3 GetBucketTagging"),
]

FAILURE = {
    "kind": "fix",
    "what": "AWS refused to make the role",
    "why": "The account already has a role of this name with another trust policy.",
    "who": "The AWS administrator of 1234-5678-9000",
    "todo": "Rename or delete the old role, or choose another name; then try again.",
    "code": "EntityAlreadyExists",
    "status": 409,
    "request_id": "9c1f0a52-7d0b-4b53-8a44-0a51f2f7d6aa",
    "details": {
        "RoleName": "amc-cleanrooms-results-acme",
        "documents": [
            {
                "title": "The statement to add to the portal's role",
                "body": {"Effect": "Allow", "Action": "iam:PassRole", "Resource": "arn:aws:iam::123456789000:role/*"},
            }
        ],
        "comparison": [
            {
                "policy": "receive-results",
                "statement": "FindBucket",
                "required": {"Action": ["s3:GetBucketLocation", "s3:ListBucket"], "Effect": "Allow"},
                "actual": {"Action": "s3:ListBucket", "Effect": "Allow"},
                "same": False,
                "read": True,
            },
            {
                "policy": "Trust policy",
                "statement": "Membership",
                "required": {"Effect": "Allow"},
                "actual": {"Effect": "Allow"},
                "same": True,
                "read": True,
            },
        ],
    },
}

SCRIPT = """aws cleanrooms create-membership \\
  --region us-east-1 \\
  --collaboration-identifier 4ab3c0de-1111-4222-8333-944445555666 \\
  --query-log-status DISABLED \\
  --cli-input-json file://create-membership.json
"""


def _log(now: datetime) -> list[SimpleNamespace]:
    lines = [
        ("info", "Looking for the role amc-cleanrooms-results-acme"),
        ("good", "Role made"),
        ("wait", "AWS is still activating the new role; trying again in 8 s"),
        ("good", "Membership made"),
        ("bad", "The results bucket is in eu-west-1"),
    ]
    return [
        SimpleNamespace(at=now - timedelta(seconds=60 - 9 * place), level=level, text=text)
        for place, (level, text) in enumerate(lines)
    ]


def _stages(now: datetime) -> list[Stage]:
    return [
        Stage("Check access", "done", at=now - timedelta(hours=3), took=timedelta(seconds=41)),
        Stage(
            "Approval", "done", at=now - timedelta(hours=2), took=timedelta(minutes=47), detail="Priya Nair approved"
        ),
        Stage("Create the instance", "running", at=now - timedelta(minutes=4), usually="10 min", detail="3 of 5 calls"),
        Stage("Join the collaboration", "blocked"),
    ]


def _instances(now: datetime) -> list[dict[str, Any]]:
    rows = [
        ("Acme US", "amc11111111", InstanceStatus.AMAZON, "Amazon", 8, timedelta(minutes=12)),
        ("Acme CA", "amc22222222", InstanceStatus.PROBLEM, "Maria Okafor", 3, timedelta(hours=5)),
        ("Acme MX", "", InstanceStatus.APPROVAL, "Priya Nair", 2, timedelta(days=1, hours=2)),
        ("Acme UK", "amc44444444", InstanceStatus.DONE, "", 13, timedelta(days=41)),
        (
            "A name that is a good deal longer than the others",
            "amc5",
            InstanceStatus.IMPORTED,
            "",
            0,
            timedelta(days=3),
        ),
    ]
    return [
        {"name": name, "id": amc_id, "status": value, "who": who, "done": done, "since": now - since}
        for name, amc_id, value, who, done, since in rows
    ]


@login_not_required
def gallery(request: HttpRequest, which: str = "") -> HttpResponse:
    """GET /gallery/ and /gallery/<which>/: all components, or one whole page made of them."""
    if not settings.DEBUG or (which and which not in MADE_UP_PAGES):
        raise Http404
    now = timezone.now()
    context: dict[str, Any] = {"shell": ExampleShell(request), "pages": MADE_UP_PAGES, "now": now}
    context |= _whole_page(which) if which else _components(request, now)
    if which == "run":
        context |= {"stages": _stages(now), "log": _log(now), "poll_seconds": 5}
    return render(request, f"gallery/{which or 'components'}.html", context)


def _whole_page(which: str) -> dict[str, Any]:
    typed = {"account": "1234", "marketplace": ""}
    partners = forms.formset_factory(PartnerForm, extra=2)
    becomes = [Row("Instance name", "acme-us", mono=True), Row("Region", "us-east-1", hint="The only one so far")]
    return {
        "form": {"radios": KindForm(), "errors": DetailsForm(typed), "confirm": ConfirmByName(name="Acme US")}.get(
            which, NameForm()
        ),
        "formset": partners(),
        "step": 2,
        "steps": 7,
        "back_url": "/gallery/",
        "later_url": "/gallery/",
        "why": "AMC shows it in every list and report, and it cannot be changed later.",
        "becomes": becomes,
        "failure": FAILURE,
    }


def _components(request: HttpRequest, now: datetime) -> dict[str, Any]:
    for level, text in ((messages.SUCCESS, "Saved."), (messages.ERROR, "The connection to Amazon has to be renewed.")):
        messages.add_message(request, level, text)
    return {
        "tiles": [
            Tile(12, "In progress", "#in-progress", tone="busy"),
            Tile(3, "Waiting for you", "#waiting", tone="wait"),
            Tile(1, "With a problem", "#problem", tone="bad", hint="since 09:12"),
            Tile(41, "Completed", "#done", tone="good"),
        ],
        "tabs": [
            Tab("Tasks", "#tasks", current=True),
            Tab("Members", "#members", count=4),
            Tab("Activity", "#activity"),
            Tab("As commands", "#commands"),
        ],
        "status_groups": [
            ("InstanceStatus", InstanceStatus.values),
            ("StepState", StepState.values),
            ("RequestState", RequestState.values),
            ("AmcConnection.State", ["working", "broken"]),
        ],
        "tasks": _tasks(now),
        "instances": _instances(now),
        "page": Paginator(range(4000), 50).get_page(3),
        "filter": FilterForm(request.GET),
        "summary": [
            Row("Name", "Acme US", change_url="#change-name"),
            Row("AWS account", "1234-5678-9000", change_url="#change-account", mono=True, copy=True),
            Row("Partners", "Source Data 1, Source Data 2", change_url="#change-partners", hint="2 AWS accounts"),
            Row("Region", "us-east-1", hint="AMC on Clean Rooms works only there for now"),
        ],
        "plan": PLAN,
        "trust": TRUST,
        "script": SCRIPT,
        "stages": _stages(now),
        "log": _log(now),
        "failure": FAILURE,
        "details": DetailsForm(),
        "moments": [now, now - timedelta(minutes=8), now - timedelta(days=3), now + timedelta(days=9)],
        "durations": [8, 754, 11_100, timedelta(days=2)],
        "fixed": datetime(2026, 11, 3, 9, 12, 4, tzinfo=UTC),
    }
