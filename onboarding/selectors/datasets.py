"""What the pages of data sets read: their versions, how far work is, and reports made readable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from onboarding.guide.identity_fields import KIND_WORDS
from onboarding.guide.identity_work import OPEN
from onboarding.identity import countries
from onboarding.identity.columns import CONSENT_COLUMNS, CONSENT_STRINGS, CONSENT_WORDS, MEANINGS
from onboarding.models import Dataset, DatasetVersion, IdentityJob, Instance, Run, SourceFile

# --- work under way

_STAGES = {
    "": "Waiting for a worker",
    "keys": "Reading the keys",
    "check": "Reading every row",
    "collapse": "Bringing the rows of repeated keys together",
    "prepare": "Standardising and writing",
    "publish": "Publishing",
}
# How much of the whole a stage takes, about: from and to, in percent.
_SHARES: Mapping[str, Mapping[str, tuple[int, int]]] = {
    IdentityJob.Kind.LOOK: {},
    IdentityJob.Kind.CHECK: {"check": (0, 100)},
    IdentityJob.Kind.PREPARE: {"keys": (0, 20), "collapse": (20, 35), "prepare": (20, 98), "publish": (98, 100)},
}
_TITLES = {
    IdentityJob.Kind.LOOK: "Looking at the files",
    IdentityJob.Kind.CHECK: "Checking the files",
    IdentityJob.Kind.PREPARE: "Preparing the files",
}


@dataclass(frozen=True)
class WorkStanding:
    """How far a piece of work is. `percent` of the whole, `left` about how long this stage still takes."""

    job: IdentityJob
    title: str
    stage: str
    percent: int
    left: timedelta | None
    open: bool
    paused: bool

    @property
    def failure(self) -> Mapping[str, Any] | None:
        """Why it did not end well, or why it is paused."""
        return self.job.failure if not self.open or self.paused else None


def standing_of(job: IdentityJob, now: datetime) -> WorkStanding:
    """A piece of work as pages show it."""
    share = job.bytes_done / job.bytes_all if job.bytes_all else 0.0
    begin, end = _SHARES[IdentityJob.Kind(job.kind)].get(job.stage, (0, 0))
    percent = round(begin + (end - begin) * min(share, 1.0))
    left = None
    if job.stage_at is not None and 0.01 < share < 1:
        left = (now - job.stage_at) * ((1 - share) / share)
    paused = job.state == IdentityJob.State.QUEUED and job.next_attempt_at is None
    stage = _STAGES.get(job.stage, job.stage) if job.state == IdentityJob.State.RUNNING or job.stage else _STAGES[""]
    if paused:
        stage = "Paused until the connection works again"
    elif job.state == IdentityJob.State.RUNNING and not job.stage:
        stage = "Opening the files"
    return WorkStanding(job, _TITLES[IdentityJob.Kind(job.kind)], stage, percent, left, job.state in OPEN, paused)


# --- reports


@dataclass(frozen=True)
class Part:
    """One piece of a bar: from where it begins and how wide it is, in percent of the whole."""

    tone: str
    start: float
    width: float


@dataclass(frozen=True)
class Bar:
    """A line of a chart that is a table too: its label, its pieces, and the numbers beside it."""

    label: str
    parts: Sequence[Part]
    numbers: Sequence[int]
    hint: str = ""


@dataclass(frozen=True)
class FindingView:
    """A finding in words, with its rows by file."""

    code: str
    level: str
    what: str
    cost: str
    advice: str
    column: str
    count: int
    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ReportView:
    """A check report as its page shows it."""

    rows: int
    usable: int
    files: Sequence[Mapping[str, Any]]
    bytes: int
    rules: str
    country: str
    completeness: Sequence[Bar]
    forecast: Sequence[Bar]
    combinations: Sequence[Bar]
    matchable: int
    findings: Sequence[FindingView]
    by_level: Mapping[str, int] = field(default_factory=dict)
    differ: Sequence[tuple[str, int]] = ()
    consent: Sequence[tuple[str, str, int]] = ()

    @property
    def notes_title(self) -> str:
        """What the findings that are for information alone stand under."""
        notes = self.by_level["note"]
        return f"{notes} note{'' if notes == 1 else 's'}, for information"

    @property
    def matchable_percent(self) -> float:
        """The share of usable rows that can match at all."""
        return round(100 * self.matchable / self.usable, 1) if self.usable else 0.0


def _parts(total: int, pieces: Iterable[tuple[str, int]]) -> list[Part]:
    found, start = [], 0.0
    for tone, count in pieces:
        width = 100 * count / total if total else 0.0
        found.append(Part(tone, round(start, 2), round(width, 2)))
        start += width
    return found


def _file(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _consent(name: str, counts: Mapping[str, int]) -> Mapping[str, int]:
    """What was counted of a consent column. Reports once called any value granted, whatever Amazon reads in it."""
    words = name.strip().lower()
    if "granted" in counts and (words in CONSENT_STRINGS or words not in CONSENT_COLUMNS):
        return {"values": counts["granted"] + counts["other"], "empty": counts["empty"]}
    return counts


def report_view(report: Mapping[str, Any]) -> ReportView:
    """A report of the identity library, as `CheckReport.as_dict` gives it, ready for its page."""
    rows, usable = report["rows"], report["usable_rows"]
    consents = {name: _consent(name, counts) for name, counts in report.get("consent", {}).items()}
    completeness = [
        Bar(
            column["column"],
            _parts(rows, (("good", column["values"]), ("bad", column["invalid"]))),
            (column["values"], column["invalid"], column["empty"], column["hashed"], column["rules_differ"]),
            KIND_WORDS.get(column["kind"], column["kind"]).partition(":")[0],
        )
        for column in report["columns"]
        if column["kind"] in MEANINGS
    ]
    # Of consent, what is said counts as a value, whatever it says, unless it cannot say anything.
    for name, one in consents.items():
        bad, empty = one.get("malformed", 0), one["empty"]
        said = sum(one.values()) - bad - empty
        parts = _parts(rows, (("good", said), ("bad", bad)))
        completeness.append(Bar(name, parts, (said, bad, empty, 0, 0), "Consent"))
    forecast, combinations, matchable = [], [], 0
    seen = report.get("forecast")
    if seen:
        matchable = seen["matchable"]
        lines = (
            ("By e-mail, telephone, device or partner id", "good", seen["direct"]),
            ("By name and address only", "busy", seen["name_and_address"]),
            ("By nothing", "bad", seen["unmatchable"]),
        )
        forecast = [Bar(label, _parts(seen["rows"], [(tone, count)]), (count,)) for label, tone, count in lines]
        combinations = [
            Bar(
                " + ".join(one["match_keys"]) or "Nothing",
                _parts(seen["rows"], [("busy", one["rows"])]),
                (one["rows"],),
            )
            for one in seen["combinations"][:12]
        ]
    findings = [
        FindingView(
            one["code"],
            one["level"],
            one["what"],
            one["cost"],
            one["advice"],
            one["column"] or "",
            one["count"],
            _rows(one["places"]) or ([(_file(one["file"]), "")] if one["file"] else []),
        )
        for one in report["findings"]
    ]
    by_level = {level: sum(one.level == level for one in findings) for level in ("error", "warning", "note")}
    return ReportView(
        rows=rows,
        usable=usable,
        files=[{**file, "short": _file(file["name"])} for file in report["files"]],
        bytes=sum(file["bytes"] for file in report["files"]),
        rules=report["rules"],
        country=countries.in_words(report["country"] or ""),
        completeness=completeness,
        forecast=forecast,
        combinations=combinations,
        matchable=matchable,
        findings=findings,
        by_level=by_level,
        differ=[(one["column"], one["rules_differ"]) for one in report["columns"] if one["rules_differ"]],
        consent=[(name, CONSENT_WORDS[what], count) for name, one in consents.items() for what, count in one.items()],
    )


def _rows(places: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    by_file: dict[str, list[str]] = {}
    for place in places:
        by_file.setdefault(_file(place["file"]), []).append(f"{place['row']:,}")
    return [(file, ", ".join(numbers)) for file, numbers in by_file.items()]


# --- lists


@dataclass(frozen=True)
class DatasetLine:
    """A data set of an instance with its latest version, if it has one that got so far."""

    dataset: Dataset
    latest: DatasetVersion | None
    versions: int


def datasets_of(instance: Instance, *, retired: bool = False) -> list[DatasetLine]:
    """The data sets of an instance by name, each with its newest version (two queries)."""
    rows = Dataset.objects.filter(instance=instance, retired_at__isnull=not retired).prefetch_related("versions")
    found = []
    for dataset in rows.order_by("name", "pk"):
        versions = sorted(dataset.versions.all(), key=lambda one: -one.number)
        found.append(DatasetLine(dataset, versions[0] if versions else None, len(versions)))
    return found


MOST_FILES = 200


def files_of(version: DatasetVersion) -> list[SourceFile]:
    """The first files of a version, by their keys."""
    return list(SourceFile.objects.filter(version=version).order_by("key")[:MOST_FILES])


def numbers_of(dataset: Dataset) -> list[DatasetVersion]:
    """Every version of a data set, the newest first, without what was found in its files."""
    rows = DatasetVersion.objects.filter(dataset=dataset).order_by("-number")
    return list(rows.only("number", "state", "made_at", "ready_at", "dataset_id"))


def open_run(instance: Instance) -> Run | None:
    """The run that brings data to the instance just now, if there is one."""
    return Run.objects.filter(instance=instance, procedure="dataset", ended_at=None).first()


@dataclass(frozen=True)
class Made:
    """What was made of a version's files: sums, and the tables."""

    sums: Sequence[tuple[str, int]]
    tables: Sequence[Mapping[str, Any]]
    fields: Sequence[Bar]


_SUMS = (
    ("Rows read", "rows_read"),
    ("Rows written", "rows_written"),
    ("Rows of repeated keys", "rows_of_repeated_keys"),
    ("… which became", "rows_collapsed_into"),
    ("Left out: another count of fields than the header", "rows_ragged"),
    ("Left out: no key", "rows_without_key"),
    ("Left out: a key over 38 characters", "rows_with_long_key"),
    ("Standardised without knowing the country", "rows_without_country"),
    ("Left out: beyond 25 rows of a key", "rows_beyond_limit"),
    ("Values left out: beyond 25 of a key", "values_beyond_limit"),
)


_FEWER = "Left out, or made one with others of their key: Athena does not count these apart"


def made_of(manifest: Mapping[str, Any]) -> Made:
    """A manifest of the identity library ready for its page."""
    rows = manifest["rows_read"]
    # What earlier manifests do not count yet is nothing.
    counted = [(label, name, manifest.get(name, 0)) for label, name in _SUMS]
    sums = [(label, count) for label, name, count in counted if count or name in ("rows_read", "rows_written")]
    # Athena says how many rows it has read and written, and nothing of why they differ.
    if not manifest["fields"] and rows > manifest["rows_written"]:
        sums.append((_FEWER, rows - manifest["rows_written"]))
    return Made(
        sums,
        [{**table, "bytes": sum(file["bytes"] for file in table["files"])} for table in manifest["tables"]],
        [
            Bar(
                name,
                _parts(rows, (("good", counts["values"]), ("bad", counts["invalid"]))),
                (counts["values"], counts["invalid"], counts["empty"], counts["hashed"]),
            )
            for name, counts in manifest["fields"].items()
        ],
    )
