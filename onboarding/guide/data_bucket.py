"""Guide 7, "Prepare identity data": where the identity data are, and the bucket that holds them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.conf import settings

from onboarding.guide.aws_access import portal_acts, primary_account
from onboarding.guide.bucket_calls import Bucket, exactly
from onboarding.guide.buckets import RESULTS_GO_HERE, clean_bucket, receives_results, results_buckets
from onboarding.guide.join import EXISTING, NEW, clean_prefix
from onboarding.guide.join_partners import partners
from onboarding.guide.plan import Call, Look
from onboarding.guide.step import GuideStep, Question, Situation
from onboarding.guide.verify import may_look, verification

KEY = "data-bucket"
FILES, PREPARED, GLUE, LATER = "files", "prepared", "glue", "later"
ADD, THERE, NO = "add", "there", "no"
RULE_ID = "amc-onboarding-portal-uploads"
UNFINISHED_RULE_ID = "amc-onboarding-portal-unfinished"


# --- what later steps read


def where(situation: Situation) -> str:
    """Where the identity data are: `files`, `prepared`, `glue` or `later`; empty while nobody has said."""
    return str(situation.answer(KEY, Where.slug, "where", ""))


def brings_data(situation: Situation) -> bool:
    """Whether identity data are brought now; the steps after this one apply only then."""
    return where(situation) in (FILES, PREPARED, GLUE)


def data_account(situation: Situation) -> str:
    """The AWS account that holds the identity data, 12 digits: the primary one, or a partner's."""
    return str(situation.answer(KEY, Holder.slug, "account", "")) or primary_account(situation)


def data_bucket(situation: Situation) -> str:
    """The name of the data bucket; empty while it is not chosen."""
    slug = DataBucket.slug if where(situation) == FILES else DataBucketThere.slug
    return str(situation.answer(KEY, slug, "name", ""))


def data_prefix(situation: Situation) -> str:
    """The folder in the data bucket under which the portal writes; no slash at either end."""
    return str(situation.answer(KEY, Folder.slug, "prefix", ""))


def uploads_possible(situation: Situation) -> bool:
    """Whether the bucket takes uploads from a browser on the portal's pages."""
    if where(situation) != FILES:
        return False
    if situation.answer(KEY, DataBucket.slug, "kind") == NEW:
        return True
    return situation.answer(KEY, Uploads.slug, "uploads") in (ADD, THERE)


def portal_acts_on_data(situation: Situation) -> bool:
    """Whether the portal, and not the customer's own administrator, acts in the account that holds the data."""
    account = data_account(situation)
    return portal_acts(situation) if account == primary_account(situation) else may_look(situation, account)


def as_it_is_now(answers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The answers of this step for the next time: a bucket that was made, and rules that were added, are there by then.

    The answers of other steps are given back as they are.
    """
    found: dict[str, Any] = dict(answers)
    bucket, uploads = found.get(DataBucket.slug), found.get(Uploads.slug)
    if bucket and bucket.get("kind") == NEW:
        found[DataBucket.slug] = {**bucket, "kind": EXISTING}
        found[Uploads.slug] = {"uploads": THERE}
    elif uploads and uploads.get("uploads") == ADD:
        found[Uploads.slug] = {"uploads": THERE}
    return found


def uploads_folder(prefix: str) -> str:
    """The folder of the data bucket that uploads go to, with the slash at its end."""
    return f"{prefix}/uploads/" if prefix else "uploads/"


# --- the questions


class Where(Question):
    """Where the identity data are today."""

    slug = "where"
    heading = "Where is your identity data?"
    hint = "E-mail addresses, phone numbers, addresses or device ids of your customers, one row each."
    why = (
        "Files are checked, standardised and hashed by the portal. What is in the right shape already is used as it is."
    )
    where = forms.ChoiceField(
        label="Your identity data",
        choices=[
            (FILES, "In files: the portal checks and prepares them"),
            (PREPARED, "In S3, prepared already in the shape that Entity Resolution reads"),
            (GLUE, "In a table of AWS Glue already"),
            (LATER, "We bring no identity data now: finish with the joined collaboration"),
        ],
        widget=forms.RadioSelect,
    )

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        words = {
            FILES: "In files, prepared by the portal",
            PREPARED: "Prepared in S3 already",
            GLUE: "In AWS Glue already",
            LATER: "None now",
        }
        return [("Identity data", words.get(str(answer.get("where")), "Not given"))]


class _AccountField(forms.ChoiceField):
    """A choice of AWS accounts; dashes between the digits are dropped."""

    def to_python(self, value: Any) -> str:
        return re.sub(r"\D", "", super().to_python(value) or "")


class Holder(Question):
    """Which of the AWS accounts of a multi-party instance holds the data."""

    slug = "account"
    heading = "Which AWS account holds the data?"
    hint = "The data stay in this account; AMC reads them there."
    why = "The bucket, the catalogue and the ID namespace are made in the same account."
    account = _AccountField(label="AWS account", widget=forms.RadioSelect)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        primary = primary_account(self.situation)
        field: Any = self.fields["account"]
        field.choices = [
            (primary, f"{_grouped(primary)}: the account that receives the results"),
            *((account, f"{_grouped(account)}: {name}") for account, name in partners(self.situation)),
        ]

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        return brings_data(situation) and bool(partners(situation))


def _grouped(account: str) -> str:
    return f"{account[:4]}-{account[4:8]}-{account[8:]}"


class _NotTheResults(Question):
    """What both questions for a bucket's name refuse."""

    def clean_name(self) -> str:
        """A bucket's name that no results go to."""
        name = clean_bucket(self.cleaned_data["name"].strip())
        refusal = receives_results(self.situation, data_account(self.situation), name)
        if refusal:
            raise forms.ValidationError(refusal)
        return name

    @classmethod
    def becomes(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
        return [
            ("AWS account", data_account(situation)),
            ("Region", "us-east-1"),
            *(("Not allowed", name) for name in sorted(results_buckets(situation))),
        ]


class DataBucket(_NotTheResults):
    """The bucket for files: made, or one that exists."""

    slug = "bucket"
    heading = "Which bucket holds the data?"
    hint = "It must be in us-east-1, and another bucket than the one that receives the results."
    why = (
        "Uploaded files lie there for some days, prepared data until you delete them. Nothing is copied to the portal."
    )
    kind = forms.ChoiceField(
        label="The bucket",
        choices=[(NEW, "Make a new bucket: private and encrypted"), (EXISTING, "Use one that exists")],
        widget=forms.RadioSelect,
        initial=NEW,
    )
    name = forms.CharField(label="Bucket name", max_length=63)

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        return where(situation) == FILES


class DataBucketThere(_NotTheResults):
    """The bucket in which data lie that are prepared already."""

    slug = "there"
    heading = "In which bucket does the data lie?"
    hint = "It must be in us-east-1, and another bucket than the one that receives the results."
    why = "The portal looks whether AMC will be able to read it. It changes nothing in it."
    name = forms.CharField(label="Bucket name", max_length=63)

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        return where(situation) in (PREPARED, GLUE)


class Folder(Question):
    """Prefix."""

    slug = "folder"
    heading = "In which folder of the bucket may the portal write?"
    hint = "Uploads and prepared data go there, each in a folder of its own. Nothing outside of it is changed."
    why = "Prepared data lie in <folder>/<data set>/v<number>, so that older versions stay as they were."
    prefix = forms.CharField(label="Folder", max_length=200, initial="amc-data")  # type: ignore[assignment]  # a field, not the form's own

    def clean_prefix(self) -> str:
        prefix = clean_prefix(self.cleaned_data["prefix"])
        if not prefix:
            raise forms.ValidationError("Give the folder a name: the portal writes nowhere else.")
        if "*" in prefix:
            raise forms.ValidationError("A star can't be in the name of this folder.")
        return prefix

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        return where(situation) == FILES


class Uploads(Question):
    """Whether an existing bucket takes uploads, and who adds the rules for that."""

    slug = "uploads"
    heading = "Will people upload files from their computers?"
    hint = "The browser sends them straight to the bucket. That takes a CORS rule for the portal's address."
    why = (
        "A bucket has one set of CORS and lifecycle rules. The portal does not overwrite rules that somebody else made."
    )
    uploads = forms.ChoiceField(
        label="Uploads",
        choices=[
            (NO, "No: the files are in S3 already"),
            (ADD, "Yes: the bucket has no CORS and no lifecycle rules yet, and the portal adds its own"),
            (THERE, "Yes: our administrator has added the portal's rules to those of the bucket"),
        ],
        widget=forms.RadioSelect,
        initial=NO,
    )

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        return where(situation) == FILES and answers.get(DataBucket.slug, {}).get("kind") == EXISTING

    @classmethod
    def becomes(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
        prefix = answers.get(Folder.slug, {}).get("prefix") or "…"
        return [
            ("CORS", f"{' and '.join(cors_rule()['AllowedMethods'])} from {portal_origin()}"),
            ("Lifecycle", f"{uploads_folder(prefix)} is emptied after {settings.UPLOAD_DAYS} days"),
        ]

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        words = {NO: "No", ADD: "Yes, the portal adds its rules", THERE: "Yes, the rules are there already"}
        return [("Uploads from computers", words.get(str(answer.get("uploads")), "Not given"))]


# --- the rules


def portal_origin() -> str:
    """Scheme, host and port of the portal, as a browser names them."""
    parts = urlsplit(settings.PORTAL_URL)
    return f"{parts.scheme}://{parts.netloc}"


def cors_rule() -> dict[str, Any]:
    """The one rule that uploads need: parts are put from the portal's pages, and their ETag can be read."""
    return {
        "ID": RULE_ID,
        "AllowedOrigins": [portal_origin()],
        "AllowedMethods": ["PUT"],
        "AllowedHeaders": ["x-amz-checksum-sha256"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 3600,
    }


def lifecycle_rules(prefix: str) -> list[dict[str, Any]]:
    """The rules that empty the folder of the uploads, and end what was begun and never finished in the whole folder."""
    unfinished = {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": settings.UPLOAD_DAYS}}
    uploads = {
        "ID": RULE_ID,
        "Status": "Enabled",
        "Filter": {"Prefix": uploads_folder(prefix)},
        "Expiration": {"Days": settings.UPLOAD_DAYS},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
    }
    folder = uploads_folder(prefix).removesuffix("uploads/")
    # A worker that was lost while it prepared leaves such uploads beside those of browsers.
    whole = {"ID": UNFINISHED_RULE_ID, "Status": "Enabled", "Filter": {"Prefix": folder}, **unfinished}
    return [uploads, whole]


class ChooseDataBucket(GuideStep):
    """Makes the data bucket, or looks whether an existing one will do."""

    key = KEY
    title = "Choose where the data lie"
    stage = "Bring identity data"
    section = "Guide 7: Prepare identity data"
    summary = "The bucket that holds your identity data, in your own AWS account."
    needs = ("join-partners",)
    usually = "a few seconds"
    undo = "The bucket can be deleted in S3 when it is empty."
    questions = (Where, Holder, DataBucket, DataBucketThere, Folder, Uploads)

    def act(self, situation: Situation) -> str:
        if not brings_data(situation):
            return "Go on without identity data"
        if where(situation) == FILES and situation.answer(KEY, DataBucket.slug, "kind") == NEW:
            return f"Make bucket {data_bucket(situation)}"
        return f"Use bucket {data_bucket(situation)}"

    def objection(self, situation: Situation) -> str:
        if not brings_data(situation):
            return ""
        return receives_results(situation, data_account(situation), data_bucket(situation))

    def plan(self, situation: Situation) -> list[Call]:
        calls = self.full_plan(situation)
        if portal_acts_on_data(situation):
            return calls
        if not may_look(situation, data_account(situation)):
            return []
        return [seen for call in calls for seen in ([call] if call.effect == "read" else verification([call]))]

    def full_plan(self, situation: Situation) -> list[Call]:
        if not brings_data(situation):
            return []
        account, name = data_account(situation), data_bucket(situation)
        bucket = Bucket(account, name)
        calls = [_not_the_results(situation, account, name)]
        if where(situation) == FILES and situation.answer(KEY, DataBucket.slug, "kind") == NEW:
            calls += [
                bucket.place(make=True),
                bucket.closed(make=True),
                bucket.owned(),
                bucket.encrypted(make=True),
                bucket.unversioned(),
            ]
        else:
            calls += [
                bucket.place(make=False),
                bucket.closed(make=False),
                bucket.encrypted(make=False),
                *_outside_lake_formation(bucket),
            ]
        if uploads_possible(situation):
            added = situation.answer(KEY, Uploads.slug, "uploads") == THERE
            calls += _for_uploads(bucket, data_prefix(situation), there=added)
        return calls


def _not_the_results(situation: Situation, account: str, bucket: str) -> Call:
    """Asks Clean Rooms itself where the results go, just before anything is made."""
    return Call(
        key="not-results",
        title=f"No results go to bucket {bucket}",
        service="cleanrooms",
        operation="ListMemberships",
        account=account,
        look=Look(
            operation="ListMemberships",
            items="membershipSummaries",
            where={"membership.defaultResultConfiguration.outputConfiguration.s3.bucket": bucket},
            detail="GetMembership",
            detail_param={"membershipIdentifier": "id"},
            several=True,
            same={"membershipSummaries": []},
            differs=RESULTS_GO_HERE,
            todo="Choose another bucket for the data.",
        ),
    )


def _outside_lake_formation(bucket: Bucket) -> list[Call]:
    """Neither the bucket nor a folder of it is registered: Lake Formation would hide the data."""
    arn = f"arn:aws:s3:::{bucket.name}"
    words = {
        "lake": (f"Bucket {bucket.name} is not registered with Lake Formation", "EQ", arn),
        "lake-folders": (
            f"No folder of bucket {bucket.name} is registered with Lake Formation",
            "BEGINS_WITH",
            f"{arn}/",
        ),
    }
    return [
        Call(
            key=key,
            title=title,
            service="lakeformation",
            operation="ListResources",
            account=bucket.account,
            look=Look(
                operation="ListResources",
                params={
                    "FilterConditionList": [
                        {"Field": "RESOURCE_ARN", "ComparisonOperator": operator, "StringValueList": [value]}
                    ]
                },
                items="ResourceInfoList",
                several=True,
                same={"ResourceInfoList": []},
                differs=f"Lake Formation manages who reads bucket {bucket.name}, so Entity Resolution can't read it by "
                "its role alone.",
                todo="Remove the location under “Data lake locations” in Lake Formation, or choose a bucket that is "
                "not registered there. Then try again.",
            ),
        )
        for key, (title, operator, value) in words.items()
    ]


def _for_uploads(bucket: Bucket, prefix: str, *, there: bool) -> list[Call]:
    """The CORS rule and the lifecycle rules; `there`: somebody has added them, and they are looked for."""
    found = []
    for key, title, kind, items, missing, rules in (
        (
            "cors",
            f"Bucket {bucket.name} takes uploads from {portal_origin()} alone",
            "Cors",
            "CORSRules",
            "NoSuchCORSConfiguration",
            [cors_rule()],
        ),
        (
            "lifecycle",
            f"Uploads in {uploads_folder(prefix)} are deleted after {settings.UPLOAD_DAYS} days",
            "LifecycleConfiguration",
            "Rules",
            "NoSuchLifecycleConfiguration",
            lifecycle_rules(prefix),
        ),
    ):
        params = {"Bucket": bucket.name}
        words = {"Cors": "CORS", "LifecycleConfiguration": "lifecycle"}[kind]
        compared = [
            {name: value for name, value in rule.items() if name not in ("ID", "MaxAgeSeconds")} for rule in rules
        ]
        written = json.dumps(rules if len(rules) > 1 else rules[0])
        these = f"these {words} rules" if len(rules) > 1 else f"this {words} rule"
        if there:
            for number, where in enumerate(compared):
                look = Look(
                    operation=f"GetBucket{kind}",
                    params=params,
                    items=items,
                    where=where,
                    missing=(missing,),
                    absent=f"Bucket {bucket.name} has no such {words} rule.",
                    todo=f"Add {these} to those of the bucket, then try again: {written}",
                )
                said = title if not number else f"Unfinished uploads are ended after {settings.UPLOAD_DAYS} days"
                name = key if not number else f"{key}-{number + 1}"
                found.append(Call(name, said, "s3", look.operation, params, account=bucket.account, look=look))
            continue
        name = {"Cors": "CORSConfiguration", "LifecycleConfiguration": "LifecycleConfiguration"}[kind]
        look = Look(
            operation=f"GetBucket{kind}",
            params=params,
            missing=(missing,),
            same=exactly(items, compared),
            differs=f"Bucket {bucket.name} has {words} rules of its own, and the portal does not overwrite them.",
            todo=f"Choose another bucket. Or add {these} to those of the bucket, and change the answer: {written}",
        )
        found.append(
            Call(
                key,
                title,
                "s3",
                f"PutBucket{kind}",
                {**params, name: {items: rules}},
                "create",
                bucket.account,
                look,
                undo="Can be removed in S3; uploads then no longer work, or stay.",
            )
        )
    return found
