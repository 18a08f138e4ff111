"""The questions of "Prepare identity data": which files, what they hold, and what is to be made of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django import forms

from onboarding.guide import data_bucket as data
from onboarding.guide.identity_fields import KIND_WORDS, ColumnsField, ManifestField, PlacesField, said_of
from onboarding.guide.identity_work import Place, work_of
from onboarding.guide.step import Question, Situation
from onboarding.guide.verify import may_look
from onboarding.identity import countries, rules
from onboarding.identity.columns import COUNTRY_RULES, MEANINGS, Kind
from onboarding.models import DatasetVersion, IdentityJob

KEY = "identity-files"
_Origin = DatasetVersion.Origin
_Work, _State = IdentityJob.Kind, IdentityJob.State
CLEAR = "clear"


class DatasetName(Question):
    """What the data set is called."""

    slug = "dataset"
    heading = "What is this data set called?"
    hint = "Such as customers or newsletter. If there is one of this name already, this becomes its new version."
    why = "The name becomes part of the folder, of the Glue table and of the ID namespace."
    name = forms.RegexField(
        r"[a-z][a-z0-9-]{0,39}",
        label="Name",
        strip=True,
        error_messages={
            "invalid": "Use 1 to 40 lower case letters, digits and dashes, and begin with a letter.",
        },
    )

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", name) or name.endswith("-"):
            raise forms.ValidationError("Use 1 to 40 lower case letters, digits and dashes, beginning with a letter.")
        return name


class Source(Question):
    """Where the files are now."""

    slug = "source"
    heading = "Where are the files?"
    hint = "CSV or Parquet, gzipped or not. They never pass through the portal: it reads them where they are."
    why = "Files from a computer go straight from the browser to your own bucket."
    # Files that were chosen in S3 are not those of a computer.
    forgets = ("places",)
    origin = forms.ChoiceField(
        label="Where the files are",
        choices=[
            (_Origin.S3, "In S3 already"),
            (_Origin.UPLOAD, "On a computer: they are uploaded to your bucket"),
            (_Origin.OWN, "With us: we prepare them ourselves, with a command that the portal shows"),
        ],
        widget=forms.RadioSelect,
        initial=_Origin.S3,
    )

    def __init__(self, *args: Any, situation: Situation, **kwargs: Any) -> None:
        super().__init__(*args, situation=situation, **kwargs)
        field: Any = self.fields["origin"]
        ways = ways_of(situation)
        field.choices = [(way, words) for way, words in field.choices if way in ways]

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        return len(ways_of(situation)) > 1

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        words = {_Origin.UPLOAD: "Uploaded from a computer", _Origin.OWN: "Prepared by ourselves, with the command"}
        return [("Files", words.get(answer.get("origin", ""), "In S3"))]


def sees_files(situation: Situation) -> bool:
    """Whether the portal can read the data's bucket, now or once its connection is mended."""
    return data.portal_acts_on_data(situation) or may_look(situation, data.data_account(situation))


def ways_of(situation: Situation) -> list[str]:
    """The ways in which files to prepare can come, as values of `DatasetVersion.Origin`."""
    if data.where(situation) != data.FILES:
        return []
    if not sees_files(situation):
        return [_Origin.OWN.value]
    uploads = data.uploads_possible(situation)
    found = [_Origin.S3.value, *([_Origin.UPLOAD.value] if uploads else [])]
    return [*found, _Origin.OWN.value] if uploads or not data.portal_acts_on_data(situation) else found


def origin_of(situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> str:
    """Where the files are: a value of `DatasetVersion.Origin`; empty while it is not known."""
    if data.where(situation) == data.GLUE:
        return _Origin.GLUE.value
    ways = ways_of(situation)
    if len(ways) > 1:
        return str(answers.get(Source.slug, {}).get("origin", ""))
    if ways:
        return ways[0]
    return _Origin.S3.value if data.brings_data(situation) else ""


def made_alone(situation: Situation) -> bool:
    """Whether the customer prepares the files with the command, wherever they lie."""
    return origin_of(situation, situation.answers.get(KEY, {})) == _Origin.OWN


def place_of(situation: Situation) -> Place:
    """Where the data of the instance are kept, as the step before has chosen it."""
    return Place(data.data_account(situation), data.data_bucket(situation), data.data_prefix(situation))


def prepares(situation: Situation) -> bool:
    """Whether the files are prepared by the portal, and not used as they are."""
    return data.where(situation) == data.FILES


class Places(Question):
    """The files and folders in S3, where uploads are by then as well."""

    slug = "places"
    heading = "Which files?"
    hint = "One place a line: s3://bucket/file.csv, or s3://bucket/folder/ for all files of a folder."
    why = "All files of a data set are of one kind, with the same columns. Hidden files and empty ones are passed over."
    places = PlacesField(label="Places")

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        return origin_of(situation, answers) in (_Origin.S3, _Origin.UPLOAD)

    def clean_places(self) -> list[str]:
        places: list[str] = self.cleaned_data["places"]
        if prepares(self.situation):
            return places
        bucket = data.data_bucket(self.situation)
        if len(places) != 1 or not places[0].endswith("/") or not places[0].startswith(f"s3://{bucket}/"):
            raise forms.ValidationError(f"Give the one folder with the prepared files: s3://{bucket}/folder/")
        return places

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        return [("From", ", ".join(answer.get("places") or []))]


class Manifest(Question):
    """What the command has made, where the portal cannot look into the bucket."""

    slug = "manifest"
    heading = "What did the command make?"
    hint = "Run the command where your files are, then choose the file manifest.json that it has written."
    why = (
        "The manifest says which tables there are, with which columns and how many rows, and by which rules they were "
        "made. It holds no value of any person."
    )
    manifest = ManifestField(label="manifest.json")

    def __init__(self, *args: Any, situation: Situation, **kwargs: Any) -> None:
        super().__init__(*args, situation=situation, **kwargs)
        field: Any = self.fields["manifest"]
        field.brought = field.widget.brought = situation.answer(KEY, self.slug, "manifest")

    def clean_manifest(self) -> dict[str, Any]:
        brought: dict[str, Any] = self.cleaned_data["manifest"]
        name = self.situation.answer(KEY, DatasetName.slug, "name", "")
        wrong = other_table(brought, name)
        if wrong:
            raise forms.ValidationError(wrong)
        return brought

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        return origin_of(situation, answers) == _Origin.OWN and not sees_files(situation)

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        brought = answer.get("manifest")
        return [("Manifest", said_of(brought) if brought else "Not given")]


def other_table(manifest: Mapping[str, Any], dataset: str) -> str:
    """Why a manifest is not that of the data set, by its first table; empty if it is."""
    first, wanted = manifest["tables"][0]["name"], table_name(dataset)
    if first == wanted:
        return ""
    return f"Its first table is called {first}, not {wanted}: prepare the files again with --table {wanted}."


class GlueTable(Question):
    """A table of the data catalogue that is there already."""

    slug = "glue"
    heading = "Which table of AWS Glue?"
    hint = "In us-east-1, in the account that holds the data."
    why = "The portal reads where its files are, and checks them like any others. It changes nothing."
    database = forms.CharField(label="Database", max_length=255)
    table = forms.CharField(label="Table", max_length=255)

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        return origin_of(situation, answers) == _Origin.GLUE


def _looked_at(situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> IdentityJob | None:
    return work_of(situation).latest(_Work.LOOK, look_settings(situation, answers))


def overview_of(situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the look at the chosen files has found; empty while it has not."""
    job, version = _looked_at(situation, answers), work_of(situation).version
    done = job is not None and job.state == _State.DONE and version is not None
    return (version.overview or {}) if done and version else {}


def report_of(situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The report of the check under the answers given; empty while there is none."""
    work = work_of(situation)
    job = work.latest(_Work.CHECK, check_settings(situation, answers))
    done = job is not None and job.state == _State.DONE and work.version is not None
    return (work.version.report or {}) if done and work.version else {}


class Columns(Question):
    """Which column is what."""

    slug = "columns"
    heading = "Which column holds what?"
    hint = "The portal has guessed from the names and the first rows. Correct what is wrong."
    why = "Entity Resolution matches by e-mail address, telephone, name and address, and by device and partner ids."
    columns = ColumnsField(label="Columns")

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        return origin_of(situation, answers) != _Origin.OWN

    def __init__(self, *args: Any, situation: Situation, **kwargs: Any) -> None:
        super().__init__(*args, situation=situation, **kwargs)
        self._overview = overview_of(situation, situation.answers.get(KEY, {}))
        field: Any = self.fields["columns"]
        field.guesses = field.widget.columns = list(self._overview.get("guesses", []))

    def clean_columns(self) -> dict[str, str]:
        columns: dict[str, str] = self.cleaned_data["columns"]
        header = self._overview.get("header")
        if header is None:
            raise forms.ValidationError("The files have not been looked at yet.")
        unknown = [column for column in columns if column not in header]
        if unknown:
            raise forms.ValidationError(f"The files have no column called {', '.join(unknown)[:200]}.")
        return columns

    @classmethod
    def pending(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> IdentityJob | None:
        job = _looked_at(situation, answers)
        return job if job is not None and job.state != _State.DONE else None

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        columns = answer.get("columns") or {}
        return [
            ("Columns", "; ".join(f"{name}: {KIND_WORDS[kind].partition(':')[0]}" for name, kind in columns.items()))
        ]


# Where the rules know most: these stand first.
_FIRST_COUNTRIES = ("US", "CA", "GB", "DE", "FR", "ES", "IT", "IN", "JP")


def _country_choices() -> list[tuple[str, str]]:
    """The countries that the rules know, by name."""
    known = {code.upper() for code in rules.load(rules.AMAZON_ADS).maps["countries"].values()}
    others = [code for code in countries.names() if code in known and code not in _FIRST_COUNTRIES]
    named = [(code, countries.in_words(code)) for code in (*_FIRST_COUNTRIES, *others)]
    return [("", "Every row names its country"), *named]


class Country(Question):
    """The country of rows that name none."""

    slug = "country"
    heading = "In which country do the people live?"
    hint = "It counts for every row that names no country of its own."
    why = "How telephone numbers, states, postal codes and addresses are standardised depends on the country."
    country = forms.ChoiceField(label="Country", choices=_country_choices, required=False)

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        return origin_of(situation, answers) != _Origin.OWN

    def clean_country(self) -> str:
        country: str = self.cleaned_data["country"]
        columns = self.situation.answer(KEY, "columns", "columns", {})
        kinds = {Kind(kind) for kind in columns.values()} if isinstance(columns, Mapping) else set()
        depends = any(kind in MEANINGS and MEANINGS[kind].rule in COUNTRY_RULES for kind in kinds)
        if not country and depends and Kind.COUNTRY not in kinds:
            raise forms.ValidationError("No column holds the country, so say it here.")
        return country

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        country = str(answer.get("country") or "")
        return [("Country", countries.in_words(country) if country else "As each row says")]


class Report(Question):
    """The check report, read before anything is made of the files."""

    slug = "report"
    heading = "What the check has found"
    hint = "Every row of the files was read. Only counts and row numbers are kept, never a value."
    why = "What is wrong now costs matches later. Correct the files and check again, or go on with what is there."
    read = forms.BooleanField(
        label="I have read the report and want to go on with these files",
        error_messages={"required": "Tick this to go on, or correct the files and check them again."},
    )

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        return origin_of(situation, answers) != _Origin.OWN

    def clean_read(self) -> bool:
        report = report_of(self.situation, self.situation.answers.get(KEY, {}))
        if not report:
            raise forms.ValidationError("The files have not been checked yet.")
        stops = why_not_prepare(report, as_is=not prepares(self.situation))
        if stops:
            raise forms.ValidationError(stops)
        return True

    @classmethod
    def pending(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> IdentityJob | None:
        if not check_settings(situation, answers):
            return None
        job = work_of(situation).latest(_Work.CHECK, check_settings(situation, answers))
        return job if job is not None and job.state != _State.DONE else None

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        return [("Check report", "Read" if answer.get("read") else "Not read")]


# What stops the onboarding when the files are prepared here, and what more when they are used as they are.
STOPS = ("unreadable", "header-missing", "key-column-missing")
STOPS_AS_IS = (
    "header-duplicate",
    "header-upper-case",
    "header-reserved",
    "columns-too-many",
    "field-mixed",
    "key-repeated",
)


def why_not_prepare(report: Mapping[str, Any], *, as_is: bool) -> str:
    """Why the files of a report can't be used, in words; empty if they can. `as_is`: they are not prepared here."""
    codes = (*STOPS, *STOPS_AS_IS) if as_is else STOPS
    mapped = {entry["column"] for entry in report["columns"]}
    found = next(
        (
            finding
            for finding in report["findings"]
            # Of two columns of one name nobody can say which is meant.
            if finding["code"] in codes or (finding["code"] == "header-duplicate" and finding["column"] in mapped)
        ),
        None,
    )
    if found is not None:
        return f"{found['what']} {found['advice']}"
    if not report["usable_rows"]:
        return "No row of the files can be used. Look at what was found, correct the files and check them again."
    return ""


class Hashing(Question):
    """Hashed by which rule table, or clear."""

    slug = "hashing"
    heading = "Should the values be hashed?"
    hint = "Keys, device and partner ids and consent are never hashed."
    why = (
        "Hashed, nobody who reads the prepared files sees an address. In clear, Entity Resolution standardises them "
        "by its own table. The report says how many rows the two tables would hash differently."
    )
    rules = forms.ChoiceField(
        label="How the values are written",
        choices=[
            (rules.AMAZON_ADS, f"Hashed by {rules.AMAZON_ADS}: what Amazon Ads publishes for hashed uploads (usual)"),
            (
                rules.ENTITY_RESOLUTION,
                f"Hashed by {rules.ENTITY_RESOLUTION}: what Entity Resolution does to clear data",
            ),
            (CLEAR, "In clear: Entity Resolution standardises them by itself"),
        ],
        widget=forms.RadioSelect,
        initial=rules.AMAZON_ADS,
    )

    def clean_rules(self) -> str:
        chosen: str = self.cleaned_data["rules"]
        report = report_of(self.situation, self.situation.answers.get(KEY, {}))
        code = "field-mixed" if chosen == CLEAR else "country-missing"
        found = [finding for finding in report.get("findings", ()) if finding["code"] == code]
        if found and chosen == CLEAR:
            columns = ", ".join(str(finding["column"]) for finding in found)
            raise forms.ValidationError(
                f"Some values are hashed already and some are clear: {columns}. In clear, Entity Resolution would take "
                "each column as one or the other. Have them hashed: values that are hashed already are kept."
            )
        if found:
            raise forms.ValidationError(
                f"{found[0]['count']:,} rows name no country that is known, and how values are standardised depends on "
                "it. Say under “Country” which one counts for them, or fill the column and check again."
            )
        return chosen

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        return prepares(situation) and origin_of(situation, answers) != _Origin.OWN

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        table = answer.get("rules")
        return [("Values", "In clear" if table == CLEAR else f"Hashed by {table}")]


# --- what is asked of the workers


def look_settings(situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What a look at the files is asked for: their places, and in whose account. Empty while it is not known."""
    places = answers.get("places", {}).get("places") or []
    account = data.data_account(situation)
    table = answers.get(GlueTable.slug, {})
    if origin_of(situation, answers) == _Origin.GLUE:
        return {"glue": dict(table), "account": account} if table else {}
    return {"places": list(places), "account": account} if places else {}


def check_settings(situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What a check is asked for; empty while a question before it has no answer."""
    look, columns = look_settings(situation, answers), answers.get("columns", {}).get("columns")
    if not look or not columns or not isinstance(columns, Mapping) or "country" not in answers:
        return {}
    return {
        **look,
        "columns": dict(columns),
        "country": answers["country"].get("country") or "",
        "rules": rules.AMAZON_ADS,
    }


def table_name(dataset: str) -> str:
    """The name of a data set's first table, as Glue takes it."""
    return re.sub(r"[^a-z0-9_]", "_", dataset.lower())


QUESTIONS = (DatasetName, Source, Places, GlueTable, Manifest, Columns, Country, Report, Hashing)
