"""``python -m onboarding.identity check|prepare|explain``.

Exit codes: 0 fine, 1 problems found, 2 could not run.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from onboarding.identity import mapping as mappings
from onboarding.identity import reference, rules, stopping
from onboarding.identity.check import CheckReport, check, look
from onboarding.identity.columns import CONSENT_WORDS, MEANINGS, Kind
from onboarding.identity.errors import BadMapping, Cancelled, IdentityError, reason
from onboarding.identity.prepare import Preparation, prepare
from onboarding.identity.reading import batches, describe
from onboarding.identity.storage import Source, default_s3, find
from onboarding.identity.work import DEFAULT_MEMORY, Progress, batch_size

FINE, PROBLEMS, COULD_NOT_RUN = 0, 1, 2
UNITS = {"": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}


class Bar:
    """A progress bar on standard error, where that is a terminal. ``stage`` is the last that was reported."""

    def __init__(self) -> None:
        self.stage = ""
        self._shown = sys.stderr.isatty()
        self._started = time.monotonic()
        self._last = 0.0

    def __call__(self, progress: Progress) -> None:
        self.stage = progress.stage
        now = time.monotonic()
        if not self._shown or (now - self._last < 0.1 and progress.done < progress.total):
            return
        self._last = now
        share = progress.done / max(progress.total, 1)
        filled = "█" * round(share * 30)
        rate = progress.rows / max(now - self._started, 1e-3)
        text = f"{progress.stage:<8} {filled:<30} {share:4.0%} {progress.rows:>13,} rows {rate:>9,.0f}/s"
        sys.stderr.write("\r" + text)
        sys.stderr.flush()

    def close(self) -> None:
        """Ends the line."""
        if self._shown and self._last:
            sys.stderr.write("\n")


def _say(text: str, to: TextIO | None = None) -> None:
    (to or sys.stdout).write(f"{text}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; gives the exit code."""
    bar = Bar()
    try:
        options = _parser().parse_args(arguments, argparse.Namespace(bar=bar))
        code: int = options.run(options)
    except (KeyboardInterrupt, Cancelled):
        bar.close()
        late = "stopped while it published; run it again to make the folder whole"
        _say(late if bar.stage == "publish" else stopping.SAID, sys.stderr)
        return COULD_NOT_RUN
    except IdentityError as error:
        _say(str(error), sys.stderr)
        return COULD_NOT_RUN
    except OSError as error:
        # Libraries put more into its text than the system's reason, so that is said and the folder, if we know it.
        folder = error.filename if error.filename == tempfile.gettempdir() else ""
        _say(f"{folder}: {reason(error)}" if folder else reason(error), sys.stderr)
        return COULD_NOT_RUN
    except ValueError as error:
        # It comes from arguments; its text may quote them, so only the kind is shown.
        _say(type(error).__name__, sys.stderr)
        return COULD_NOT_RUN
    except Exception as error:
        # A fault of the program or of a library: its message may quote a value, so only lines of code are said.
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        where = ", ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
        _say(f"{type(error).__name__} at {where}", sys.stderr)
        return COULD_NOT_RUN
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m onboarding.identity", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="check|prepare|explain")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("files", nargs="+", metavar="FILE", help="CSV or Parquet: paths, folders or s3:// URLs")
    common.add_argument("--columns", metavar="MAP", help="column=kind,… or a JSON file; guessed when not given")
    common.add_argument("--country", help="country of rows that name none, as a two-letter code")
    common.add_argument("--rules", choices=rules.NAMES, default=rules.AMAZON_ADS, help="rule table")
    threads = argparse.ArgumentParser(add_help=False)
    threads.add_argument("--jobs", type=int, metavar="N", help="threads")
    threads.add_argument(
        "--memory",
        type=memory,
        default=DEFAULT_MEMORY,
        metavar="SIZE",
        help="for its work, besides some 200MB for the libraries; such as 512MB",
    )
    threads.add_argument("--json", action="store_true", help="print the result as JSON")

    checking = commands.add_parser("check", parents=[common, threads], help="report what is wrong")
    checking.add_argument("--event", action="store_true", help="the files are an event table")
    checking.set_defaults(run=_check)

    preparing = commands.add_parser("prepare", parents=[common, threads], help="standardise, hash, write Parquet")
    preparing.add_argument("--out", required=True, metavar="DIR_OR_S3", help="a folder or s3://bucket/prefix")
    preparing.add_argument("--table", default="identity", help="name of the first table's folder")
    how = preparing.add_mutually_exclusive_group()
    how.add_argument(
        "--hash", dest="hash", action="store_true", default=True, help="standardise and hash (the default)"
    )
    how.add_argument("--clear", dest="hash", action="store_false", help="leave values as they are")
    preparing.set_defaults(run=_prepare)

    explaining = commands.add_parser("explain", parents=[common], help="show one row's standard forms, on a terminal")
    explaining.add_argument(
        "--row", type=row_number, required=True, metavar="N", help="row number, from 1 after the header"
    )
    explaining.set_defaults(run=_explain)
    return parser


def memory(text: str) -> int:
    """Bytes from ``512MB``, ``2GB`` or a plain number."""
    match = re.fullmatch(r"(\d+)\s*([KMG]B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError("write a size such as 512MB")
    return int(match[1]) * UNITS[(match[2] or "").upper()]


def row_number(text: str) -> int:
    """The number of a row, from 1."""
    if not re.fullmatch(r"0*[1-9]\d*", text.strip(), re.ASCII):
        raise argparse.ArgumentTypeError("rows are numbered from 1")
    return int(text)


def _mapping(options: argparse.Namespace, *, as_named: bool = True) -> dict[str, Kind]:
    """The mapping given, or guessed; of files without names only for a check (`as_named` false)."""
    if options.columns is None:
        seen = look(options.files)
        bare = next((name for name, layout in seen.layouts.items() if layout.header_looks_like_data), None)
        if bare is not None and as_named:
            raise BadMapping(f"{bare} has no row with column names that are known; put one on top, or give --columns")
        return seen.mapping()
    if options.columns.endswith(".json"):
        document = _json(options.columns)
        if not isinstance(document, dict):
            raise BadMapping("the mapping's JSON file must hold an object of column and kind")
        return {str(column): mappings.kind_named(str(kind)) for column, kind in document.items()}
    return mappings.parse(options.columns)


def _json(path: str) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BadMapping(f"{path} cannot be read: {reason(error)}") from None
    except UnicodeDecodeError:
        raise BadMapping(f"{path} is not in UTF-8") from None
    except json.JSONDecodeError as error:
        raise BadMapping(f"{path} is not JSON: look at line {error.lineno}, column {error.colno}") from None


def _check(options: argparse.Namespace) -> int:
    bar: Bar = options.bar
    report = check(
        options.files,
        _mapping(options, as_named=False),
        country=options.country,
        rule_table=options.rules,
        event=options.event,
        jobs=options.jobs,
        memory=options.memory,
        progress=bar,
        cancelled=stopping.asked,
    )
    bar.close()
    if options.json:
        _say(json.dumps(report.as_dict(), indent=1, ensure_ascii=False))
    else:
        _show_check(report)
    return FINE if report.fine else PROBLEMS


def _show_check(report: CheckReport) -> None:
    _say(f"{report.rows:,} rows in {len(report.files)} file(s), {report.usable_rows:,} usable; rules {report.rules}\n")
    _say(f"{'column':<24}{'kind':<13}{'values':>12}{'empty':>12}{'invalid':>12}{'hashed':>12}{'rules differ':>14}")
    for column in report.columns:
        numbers = (column.values, column.empty, column.invalid, column.hashed)
        _say(f"{column.column:<24}{column.kind:<13}{''.join(f'{n:>12,}' for n in numbers)}{column.rules_differ:>14,}")
    if report.consent:
        _say(f"\n{'consent':<24}{'what rows say':<49}{'rows':>12}")
    for name, counts in report.consent.items():
        for what, rows in counts.items():
            _say(f"{name:<24}{CONSENT_WORDS[what]:<49}{rows:>12,}")
    for finding in report.findings:
        where = ", ".join(filter(None, (finding.column, finding.file)))
        _say(f"\n{finding.level.upper()}: {finding.topic.what}{f' [{where}]' if where else ''} {finding.count:,}")
        _say(f"  {finding.topic.cost} {finding.topic.advice}")
        if finding.places:
            _say("  rows " + ", ".join(f"{Path(place.file).name}:{place.row}" for place in finding.places))
    forecast = report.forecast
    if forecast is not None:
        _say(f"\nForecast: {forecast.matchable:,} of {forecast.rows:,} rows can match at all:")
        _say(f"  {forecast.direct:,} by e-mail, telephone or an id")
        _say(f"  {forecast.name_and_address:,} by name and address only")
        for combination in forecast.combinations[:10]:
            _say(f"  {combination.rows:>13,}  {' + '.join(combination.match_keys) or 'nothing'}")


def _prepare(options: argparse.Namespace) -> int:
    bar: Bar = options.bar
    result = prepare(
        options.files,
        _mapping(options),
        options.out,
        country=options.country,
        rule_table=options.rules if options.hash else None,
        table=options.table,
        jobs=options.jobs,
        memory=options.memory,
        progress=bar,
        cancelled=stopping.asked,
    )
    bar.close()
    if options.json:
        _say(json.dumps(result.as_dict(), indent=1, ensure_ascii=False))
    else:
        _show_preparation(result)
    lost = result.rows_ragged + result.rows_without_key + result.rows_with_long_key
    lost += result.rows_beyond_limit + result.values_beyond_limit + result.rows_without_country
    invalid = any(counts.invalid for counts in result.fields.values())
    return PROBLEMS if lost or invalid or not result.rows_written else FINE


def _show_preparation(result: Preparation) -> None:
    how = f"hashed by {result.rules}" if result.hashed else "in clear"
    _say(f"{result.rows_read:,} rows read, {result.rows_written:,} written {how} to {result.destination}")
    left_out = {
        "with another count of fields": result.rows_ragged,
        "without a key": result.rows_without_key,
        "with a key over 38 characters": result.rows_with_long_key,
        "beyond 25 of one key": result.rows_beyond_limit,
    }
    for why, rows in left_out.items():
        if rows:
            _say(f"  {rows:,} rows {why} left out")
    if result.rows_without_country:
        _say(f"  {result.rows_without_country:,} rows whose country is not known, with values that depend on it")
    if result.rows_of_repeated_keys:
        _say(f"  {result.rows_of_repeated_keys:,} rows of repeated keys became {result.rows_collapsed_into:,}")
    for column, counts in result.fields.items():
        _say(f"  {column:<24}{counts.values:>13,} values{counts.empty:>13,} empty{counts.invalid:>13,} invalid")
    for table in result.tables:
        _say(f"  {table.name}: {table.rows:,} rows, {len(table.columns)} columns, {len(table.files)} file(s)")


def _explain(options: argparse.Namespace) -> int:
    """Shows values, so only on a terminal and never into a pipe or file."""
    if not sys.stdout.isatty():
        _say("explain shows a person's data and so writes to a terminal only", sys.stderr)
        return COULD_NOT_RUN
    mapping = _mapping(options)
    country = mappings.country_named(options.country)
    sources = find(options.files, default_s3)
    source, layout = sources[0], describe(sources[0])
    _known(mapping, sources)
    at = {name: layout.header.index(name) for name in mapping if name in layout.header}
    records = 0
    for load in batches(source, layout, list(at.values()), batch_size(DEFAULT_MEMORY)):
        batch = load()
        if options.row <= records + batch.records:
            wanted = options.row - records
            for position in range(batch.rows):
                if int(batch.numbers(np.array([position]))[0]) == wanted:
                    row = {name: batch.columns[place][position].as_py() for name, place in at.items()}
                    _show_row(row, mapping, options.rules, country)
                    return FINE
            _say("that row has another count of fields than the header and is left out", sys.stderr)
            return PROBLEMS
        records += batch.records
    _say(f"the file has {records:,} rows", sys.stderr)
    return COULD_NOT_RUN


def _known(mapping: Mapping[str, Kind], sources: Sequence[Source]) -> None:
    """Raises BadMapping for columns that no file has."""
    unknown = set(mapping)
    for source in sources:
        if unknown:
            unknown -= set(describe(source).header)
    if unknown:
        raise BadMapping(f"the files have no column named {', '.join(name for name in mapping if name in unknown)}")


def _show_row(row: dict[str, str | None], mapping: dict[str, Kind], rule_table: str, default: str | None) -> None:
    table = rules.load(rule_table)
    country_column = next((name for name, kind in mapping.items() if kind is Kind.COUNTRY), None)
    country = reference.country_code(table, row.get(country_column)) if country_column else None
    country = country or default
    for name, value in row.items():
        meaning = MEANINGS.get(mapping[name])
        rule = meaning.rule if meaning else None
        standard = reference.standardise(table, rule, value, country) if rule else value
        digest = reference.standardise_and_hash(table, rule, value, country) if rule else ""
        _say(f"{name:<20} {value!r}\n{'':<20} → {standard!r}\n{'':<20} → {digest or '(null)' if rule else '(carried)'}")
