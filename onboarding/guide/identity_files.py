"""Guide 7, "Prepare identity data", step 1: choose the files, say what they hold, check them, and prepare them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import forms

from onboarding.guide import data_bucket as data
from onboarding.guide import identity_athena as athena
from onboarding.guide.identity_work import (
    OPEN,
    Place,
    Work,
    ask_for,
    content_digest,
    forget_work,
    keep_version,
    work_of,
)
from onboarding.guide.plan import Call, Ref, Until
from onboarding.guide.render.identity import command
from onboarding.guide.step import GuideStep, Question, Situation
from onboarding.guide.verify import may_look
from onboarding.identity import countries, rules
from onboarding.identity import manifest as manifests
from onboarding.identity.columns import COUNTRY_RULES, MAX_COLUMNS, MEANINGS, Kind
from onboarding.identity.errors import BadManifest
from onboarding.models import DatasetVersion, IdentityJob, Person, SourceFile

KEY = "identity-files"
_Origin = DatasetVersion.Origin
_Work, _State = IdentityJob.Kind, IdentityJob.State
CLEAR = "clear"
# What an onboarding file may say in place of the columns.
AS_GUESSED = "guessed"
KIND_WORDS: Mapping[str, str] = {
    Kind.KEY: "Key: identifies the person in your data",
    Kind.FIRST_NAME: "First name",
    Kind.LAST_NAME: "Last name",
    Kind.EMAIL: "E-mail address",
    Kind.PHONE: "Telephone number",
    Kind.ADDRESS: "Street address",
    Kind.CITY: "City",
    Kind.STATE: "State or region",
    Kind.ZIP: "Postal code",
    Kind.COUNTRY: "Country",
    Kind.MAID: "Mobile ad id",
    Kind.LIVERAMP: "LiveRamp id",
    Kind.EXPERIAN: "Experian id",
    Kind.MERKLE: "Merkle id",
    Kind.CONSENT: "Consent",
    Kind.IGNORE: "Leave it out",
}
_PLACE = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(.*)", re.DOTALL)


# --- the fields


class PlacesField(forms.CharField):
    """Places in S3, one a line; cleaned to a list of `s3://bucket/key` and `s3://bucket/prefix/`."""

    widget = forms.Textarea

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        lines = value if isinstance(value, list) else re.split(r"[\r\n]+", str(value or ""))
        return list(dict.fromkeys(line.strip() for line in lines if line.strip()))

    def run_validators(self, value: Any) -> None:
        """Each place is judged by itself, in `validate`."""

    def validate(self, value: Any) -> None:
        if not value:
            raise forms.ValidationError("Choose at least one file or folder.")
        if len(value) > 200:
            raise forms.ValidationError("Choose 200 places at most; a folder counts as one.")
        for place in value:
            match = _PLACE.fullmatch(place)
            if match is None or len(place) > 1100:
                raise forms.ValidationError(
                    f"“{place[:80]}” is no place in S3. Write s3://bucket/file.csv, or s3://bucket/folder/ for all "
                    "files of a folder."
                )


class ColumnsWidget(forms.Widget):
    """A table: each column with its guess and a list of kinds to choose from. `columns` are the look's guesses."""

    template_name = "datasets/columns.html"
    columns: list[dict[str, Any]] = []
    use_fieldset = True

    def value_from_datadict(self, data: Mapping[str, Any], files: Any, name: str) -> Any:
        if name in data:
            return data[name]
        found = {}
        for number in range(5000):
            column = data.get(f"{name}-{number}-column")
            if column is None:
                break
            found[column] = data.get(f"{name}-{number}-kind", "")
        return found

    def value_omitted_from_data(self, data: Mapping[str, Any], files: Any, name: str) -> bool:
        return name not in data and f"{name}-0-column" not in data

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        chosen = value if isinstance(value, Mapping) else {}
        context["rows"] = [
            {
                **guess,
                "number": number,
                "chosen": chosen.get(guess["column"], guess["kind"] if not chosen else Kind.IGNORE.value),
                "percent": round(100 * guess["confidence"]),
                "guess": KIND_WORDS[guess["kind"]].partition(":")[0],
                "name": f"{name}-{number}",
            }
            for number, guess in enumerate(self.columns)
        ]
        context["kinds"] = list(KIND_WORDS.items())
        return context


class ColumnsField(forms.Field):
    """Which column holds what: from the table, from a mapping, as `column=kind, column=kind`, or as it was guessed."""

    widget = ColumnsWidget
    guesses: list[dict[str, Any]] = []

    def to_python(self, value: Any) -> dict[str, str]:
        if isinstance(value, str):
            value = self._read(value)
        if not isinstance(value, Mapping):
            return {}
        found = {}
        for column, kind in value.items():
            if kind not in KIND_WORDS:
                raise forms.ValidationError(
                    f"“{kind}” is no kind of column; there are {', '.join(map(str, KIND_WORDS))}."
                )
            if kind != Kind.IGNORE:
                found[str(column)] = str(kind)
        return found

    def _read(self, text: str) -> Any:
        if text.strip().lower() == AS_GUESSED:
            return {guess["column"]: guess["kind"] for guess in self.guesses}
        if text.lstrip().startswith("{"):
            try:
                return json.loads(text)
            except ValueError:
                raise forms.ValidationError("This is not JSON.") from None
        found = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            column, sign, kind = part.rpartition("=")
            if not sign:
                raise forms.ValidationError("Write column=kind, column=kind.")
            found[column.strip()] = kind.strip()
        return found

    def validate(self, value: Any) -> None:
        keys = [column for column, kind in value.items() if kind == Kind.KEY]
        if not keys:
            raise forms.ValidationError("Say which column is the key: without it nothing can be matched.")
        if len(keys) > 1:
            raise forms.ValidationError(f"Only one column can be the key, not {' and '.join(keys)}.")
        if not any(kind not in (Kind.KEY, Kind.CONSENT) for kind in value.values()):
            raise forms.ValidationError("No column holds anything to match by. Say which column holds what.")
        if sum(kind == Kind.CONSENT for kind in value.values()) > MAX_COLUMNS - 2:
            raise forms.ValidationError("The consent columns leave no room for others.")


class ManifestInput(forms.Widget):
    """A file to choose; `brought` is the manifest that was given before, which stays until another is chosen."""

    template_name = "datasets/manifest.html"
    needs_multipart_form = True
    brought: Mapping[str, Any] | None = None

    def value_from_datadict(self, data: Mapping[str, Any], files: Any, name: str) -> Any:
        return files.get(name) or data.get(name)

    def value_omitted_from_data(self, data: Mapping[str, Any], files: Any, name: str) -> bool:
        return name not in data and name not in files

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        return super().get_context(name, None, attrs) | {"brought": _said_of(self.brought) if self.brought else ""}


class ManifestField(forms.Field):
    """A manifest of the command: as an uploaded file, as text, or read already; cleaned to what is known of it."""

    widget = ManifestInput
    brought: Mapping[str, Any] | None = None

    def clean(self, value: Any) -> dict[str, Any]:
        value = value or self.brought
        if not value:
            raise forms.ValidationError("Choose the file manifest.json that the command has written.")
        try:
            if isinstance(value, Mapping):
                return manifests.validated(value)
            if isinstance(value, str):
                return manifests.read(value)
            if value.size > manifests.LARGEST:
                raise BadManifest("is too large for a manifest")
            return manifests.read(value.read())
        except BadManifest as error:
            raise forms.ValidationError(f"The file {error}.") from None
        except UnicodeDecodeError:
            raise forms.ValidationError("The file is no text: choose manifest.json, not one of the tables.") from None


def _said_of(manifest: Mapping[str, Any]) -> str:
    """A manifest in a few words."""
    tables = len(manifest["tables"])
    return f"{manifest['rows_written']:,} rows in {tables} table{'' if tables == 1 else 's'}, " + (
        f"hashed by {manifest['rules']}" if manifest["rules"] else "in clear"
    )


# --- the questions


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
        return [("Manifest", _said_of(brought) if brought else "Not given")]


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
    found = next((finding for finding in report["findings"] if finding["code"] in codes), None)
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


def _files(work: Work) -> list[SourceFile]:
    """The files that were looked at."""
    there = SourceFile.State.THERE
    return list(SourceFile.objects.filter(version=work.version, state=there)) if work.version else []


class IdentityFiles(GuideStep):
    """Files in, tables that Entity Resolution can read out."""

    key = KEY
    title = "Prepare identity data"
    stage = "Bring identity data"
    section = "Guide 7: Prepare identity data"
    summary = "Which files, what they hold, whether they are good, and the tables that are made of them."
    needs = ("data-bucket",)
    usually = "a few minutes for a million rows"
    undo = "What is written can be deleted in S3. The files that you chose are never changed."
    questions = (DatasetName, Source, Places, GlueTable, Manifest, Columns, Country, Report, Hashing)

    def applies(self, situation: Situation) -> bool:
        return data.brings_data(situation)

    def act(self, situation: Situation) -> str:
        name = situation.answer(self.key, "dataset", "name", "")
        verb = "Prepare" if prepares(situation) else "Use"
        if verb == "Prepare" and (made_alone(situation) or not data.portal_acts_on_data(situation)):
            verb = "Check"
        return f"{verb} data set “{name}”" if name else self.title

    def answered(self, situation: Situation, question: str, person: Person, now: datetime) -> list[IdentityJob]:
        answers = situation.answers.get(self.key, {})
        name, origin = answers.get("dataset", {}).get("name"), origin_of(situation, answers)
        if not name or not origin:
            return []
        version = keep_version(situation, name, origin, place_of(situation), person, now)
        asked = []
        look = look_settings(situation, answers)
        if look:
            asked.append(ask_for(version, _Work.LOOK, look, person, now))
        check = check_settings(situation, answers)
        if check:
            asked.append(ask_for(version, _Work.CHECK, check, person, now))
        forget_work(situation)
        return [job for job in asked if job is not None]

    def plan(self, situation: Situation) -> list[Call]:
        """What the portal does: all of it, or no more than looking at what people have prepared by themselves."""
        if not prepares(situation) or (data.portal_acts_on_data(situation) and not made_alone(situation)):
            return self.full_plan(situation)
        return [self._brought(situation)]

    def objection(self, situation: Situation) -> str:
        work = work_of(situation)
        files = _files(work)
        if not prepares(situation) or not data.portal_acts_on_data(situation) or not athena.too_large(files):
            return ""
        return athena.why_not(work.version, files, self._params(situation, work))

    def unseen(self, situation: Situation) -> str:
        if not made_alone(situation) or sees_files(situation):
            return ""
        return (
            f"AWS account {data.data_account(situation)} is not connected, so the portal can't see whether the "
            "prepared files lie in the bucket. It takes the manifest's word for it."
        )

    def full_plan(self, situation: Situation) -> list[Call]:
        account = data.data_account(situation)
        params = self._params(situation, work_of(situation))
        if not prepares(situation):
            return [
                Call(
                    key="prepare",
                    title=f"Use the files of “{params['dataset']}” as they are",
                    service="identity",
                    operation="adopt",
                    params=params,
                    account=account,
                )
            ]
        if made_alone(situation):
            return [self._alone(situation), self._brought(situation)]
        work = work_of(situation)
        files = _files(work)
        if athena.too_large(files) and data.portal_acts_on_data(situation):
            if athena.why_not(work.version, files, params):
                return []
            return athena.calls(self.key, work.version, files, params, place_of(situation))
        return [
            Call(
                key="job",
                title=f"Prepared files of data set “{params['dataset']}”, version {params['version']}",
                service="identity",
                operation="start",
                params=params,
                effect="create",
                account=account,
                undo="What is written can be deleted in S3.",
            ),
            Call(
                key="prepare",
                title="Wait until the files are prepared",
                service="identity",
                operation="prepare",
                params={"job": Ref(self.key, "job", "job")},
                effect="wait",
                account=account,
                until=Until(
                    path="state",
                    done=("done",),
                    every=(2, 3, 5, 10, 20, 30),
                    give_up=7 * 86_400,
                    usually="a few minutes for a million rows",
                ),
            ),
        ]

    def _alone(self, situation: Situation) -> Call:
        """What people run by themselves on files that the portal never sees."""
        params = self._params(situation, work_of(situation))
        kept = ("dataset", "version", "to", "table")
        return Call(
            key="job",
            title=f"Prepared files of data set “{params['dataset']}”, version {params['version']}",
            service="identity",
            operation="start",
            params={name: params[name] for name in kept} | {"from": [], "columns": {}, "country": None},
            effect="create",
            account=data.data_account(situation),
            undo="What is written can be deleted in S3.",
        )

    def _brought(self, situation: Situation) -> Call:
        """A look at what people have prepared by themselves, by the manifest in the bucket or the one they brought."""
        params, answers = self._params(situation, work_of(situation)), situation.answers.get(self.key, {})
        kept = ["dataset", "version", "version_pk", "to", "table"]
        if made_alone(situation):
            wanted = {"manifest": answers.get(Manifest.slug, {}).get("manifest")}
        else:
            wanted = {name: params[name] for name in ("columns", "country", "rules", "rows")}
        return Call(
            key="prepare",
            title=f"Check: prepared files of data set “{params['dataset']}”, version {params['version']}",
            service="identity",
            operation="manifest",
            params={name: params[name] for name in kept} | wanted,
            account=data.data_account(situation),
        )

    def _params(self, situation: Situation, work: Work) -> dict[str, Any]:
        """Everything that is read, what it is read as, and where what is made of it goes."""
        answers = situation.answers.get(self.key, {})
        place, version = place_of(situation), work.version
        name = str(answers.get("dataset", {}).get("name", ""))
        number = version.number if version else 1
        files = _files(work)
        report = report_of(situation, answers)
        columns = answers.get("columns", {}).get("columns")
        table = answers.get("hashing", {}).get("rules", CLEAR)
        below = f"{place.prefix}/" if place.prefix else ""
        params: dict[str, Any] = {
            "dataset": name,
            "version": number,
            "from": list(answers.get("places", {}).get("places") or []),
            "files": len(files),
            "bytes": sum(file.size for file in files),
            "rows": report.get("rows", 0),
            "usable_rows": report.get("usable_rows", 0),
            "columns": dict(columns) if isinstance(columns, Mapping) else {},
            "country": answers.get("country", {}).get("country") or None,
            "content": content_digest(files),
            "version_pk": version.pk if version else 0,
        }
        if prepares(situation):
            params |= {
                "to": f"s3://{place.bucket}/{below}{name}/v{number}",
                "table": table_name(name),
                "rules": None if table == CLEAR else table,
            }
        return params

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        if call == "prepare" and output.get("tables"):
            DatasetVersion.objects.filter(pk=output["version_pk"]).exclude(state=DatasetVersion.State.READY).update(
                state=DatasetVersion.State.READY,
                ready_at=now,
                country=output.get("country") or "",
                rule_table=output.get("rules") or "",
            )


def output_of(version: DatasetVersion, manifest: Mapping[str, Any], place: str) -> dict[str, Any]:
    """What the step hands on: the tables of a prepared version, from its manifest. `place` is its `s3://` folder."""
    dataset = version.dataset
    report = version.report or {}
    return {
        "state": "done",
        "dataset": dataset.name,
        "version": version.number,
        "version_pk": version.pk,
        "aws_account_id": dataset.aws_account_id,
        "bucket": dataset.bucket,
        "prefix": dataset.prefix,
        "rules": manifest["rules"],
        "country": manifest["country"],
        "rows": manifest["rows_written"],
        "forecast": report.get("forecast") or {},
        "tables": [
            {
                "name": table["name"],
                "location": f"{place}/{table['name']}/",
                "format": "PARQUET",
                "rows": table["rows"],
                "columns": [
                    {"name": column["name"], "kind": column["kind"], "hashed": column["hashed"]}
                    for column in table["columns"]
                ],
            }
            for table in manifest["tables"]
        ],
    }


def as_it_is(version: DatasetVersion, columns: Mapping[str, str], country: str | None) -> dict[str, Any]:
    """The same for files that are used as they are, from what the look and the check have found."""
    overview, report, dataset = version.overview or {}, version.report or {}, version.dataset
    counts = {column["column"]: column for column in report.get("columns", [])}
    formats = {str(file["format"]).upper() for file in overview.get("files", [])}
    return {
        "state": "done",
        "dataset": dataset.name,
        "version": version.number,
        "version_pk": version.pk,
        "aws_account_id": dataset.aws_account_id,
        "bucket": dataset.bucket,
        "prefix": dataset.prefix,
        "rules": None,
        "country": country,
        "rows": report.get("rows", 0),
        "forecast": report.get("forecast") or {},
        "tables": [
            {
                "name": table_name(dataset.name),
                "location": overview.get("location", ""),
                "format": "PARQUET" if formats == {"PARQUET"} else "CSV",
                "rows": report.get("rows", 0),
                "columns": [
                    {
                        "name": name,
                        "kind": columns.get(name, Kind.IGNORE.value),
                        "hashed": bool(counts.get(name, {}).get("hashed")),
                    }
                    for name in overview.get("header", [])
                ],
                **overview.get("glue", {}),
            }
        ],
    }


def under_way(situation: Situation) -> IdentityJob | None:
    """The work that a worker has, or will have, for the situation's run."""
    return next((job for job in work_of(situation).jobs if job.state in OPEN), None)


def own_command(situation: Situation) -> str:
    """The command by which people prepare the files of a data set by themselves."""
    calls = IdentityFiles().full_plan(situation)
    return command(calls[0]) if made_alone(situation) else ""
