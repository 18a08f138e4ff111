"""``python -m onboarding.identity check|prepare|explain``.

Exit codes: 0 fine, 1 problems found, 2 could not run.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onboarding.identity import mapping as mappings
from onboarding.identity import reference, rules
from onboarding.identity.check import CheckReport, check, look
from onboarding.identity.columns import CONSENT_WORDS, MEANINGS, Kind
from onboarding.identity.errors import BadMapping, IdentityError
from onboarding.identity.prepare import Preparation, prepare
from onboarding.identity.reading import batches, describe
from onboarding.identity.storage import default_s3, find
from onboarding.identity.work import DEFAULT_MEMORY, Progress, batch_size

FINE, PROBLEMS, COULD_NOT_RUN = 0, 1, 2
UNITS = {"": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}


class Bar:
    """A progress bar on standard error, where that is a terminal."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._started = time.monotonic()
        self._last = 0.0

    def __call__(self, progress: Progress) -> None:
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; gives the exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except (IdentityError, OSError, ValueError) as error:
        # OSError and ValueError come from arguments and folders; their text may quote them, so only the kind is shown.
        print(str(error) if isinstance(error, IdentityError) else type(error).__name__, file=sys.stderr)
        return COULD_NOT_RUN
    except KeyboardInterrupt:
        print("stopped; nothing was published", file=sys.stderr)
        return COULD_NOT_RUN
    except Exception as error:
        # A fault of the program or of a library: its message may quote a value, so only lines of code are said.
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        where = ", ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
        print(f"{type(error).__name__} at {where}", file=sys.stderr)
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
    explaining.add_argument("--row", type=int, required=True, metavar="N", help="row number, from 1 after the header")
    explaining.set_defaults(run=_explain)
    return parser


def memory(text: str) -> int:
    """Bytes from ``512MB``, ``2GB`` or a plain number."""
    match = re.fullmatch(r"(\d+)\s*([KMG]B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError("write a size such as 512MB")
    return int(match[1]) * UNITS[(match[2] or "").upper()]


def _mapping(options: argparse.Namespace) -> dict[str, Kind]:
    if options.columns is None:
        return look(options.files).mapping()
    if options.columns.endswith(".json"):
        document = json.loads(Path(options.columns).read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise BadMapping("the mapping's JSON file must hold an object of column and kind")
        return {str(column): mappings.kind_named(str(kind)) for column, kind in document.items()}
    return mappings.parse(options.columns)


def _check(options: argparse.Namespace) -> int:
    bar = Bar()
    report = check(
        options.files,
        _mapping(options),
        country=options.country,
        rule_table=options.rules,
        event=options.event,
        jobs=options.jobs,
        memory=options.memory,
        progress=bar,
    )
    bar.close()
    if options.json:
        print(json.dumps(report.as_dict(), indent=1, ensure_ascii=False))
    else:
        _show_check(report)
    return FINE if report.fine else PROBLEMS


def _show_check(report: CheckReport) -> None:
    print(f"{report.rows:,} rows in {len(report.files)} file(s), {report.usable_rows:,} usable; rules {report.rules}\n")
    print(f"{'column':<24}{'kind':<13}{'values':>12}{'empty':>12}{'invalid':>12}{'hashed':>12}{'rules differ':>14}")
    for column in report.columns:
        numbers = (column.values, column.empty, column.invalid, column.hashed)
        print(f"{column.column:<24}{column.kind:<13}{''.join(f'{n:>12,}' for n in numbers)}{column.rules_differ:>14,}")
    if report.consent:
        print(f"\n{'consent':<24}{'what rows say':<49}{'rows':>12}")
    for name, counts in report.consent.items():
        for what, rows in counts.items():
            print(f"{name:<24}{CONSENT_WORDS[what]:<49}{rows:>12,}")
    for finding in report.findings:
        where = ", ".join(filter(None, (finding.column, finding.file)))
        print(f"\n{finding.level.upper()}: {finding.topic.what}{f' [{where}]' if where else ''} {finding.count:,}")
        print(f"  {finding.topic.cost} {finding.topic.advice}")
        if finding.places:
            print("  rows " + ", ".join(f"{Path(place.file).name}:{place.row}" for place in finding.places))
    forecast = report.forecast
    if forecast is not None:
        print(f"\nForecast: {forecast.matchable:,} of {forecast.rows:,} rows can match at all:")
        print(f"  {forecast.direct:,} by e-mail, telephone or an id")
        print(f"  {forecast.name_and_address:,} by name and address only")
        for combination in forecast.combinations[:10]:
            print(f"  {combination.rows:>13,}  {' + '.join(combination.match_keys) or 'nothing'}")


def _prepare(options: argparse.Namespace) -> int:
    bar = Bar()
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
    )
    bar.close()
    if options.json:
        print(json.dumps(result.as_dict(), indent=1, ensure_ascii=False))
    else:
        _show_preparation(result)
    lost = result.rows_ragged + result.rows_without_key + result.rows_with_long_key
    lost += result.rows_beyond_limit + result.values_beyond_limit
    invalid = any(counts.invalid for counts in result.fields.values())
    return PROBLEMS if lost or invalid or not result.rows_written else FINE


def _show_preparation(result: Preparation) -> None:
    how = f"hashed by {result.rules}" if result.hashed else "in clear"
    print(f"{result.rows_read:,} rows read, {result.rows_written:,} written {how} to {result.destination}")
    left_out = {
        "with another count of fields": result.rows_ragged,
        "without a key": result.rows_without_key,
        "with a key over 38 characters": result.rows_with_long_key,
        "beyond 25 of one key": result.rows_beyond_limit,
    }
    for why, rows in left_out.items():
        if rows:
            print(f"  {rows:,} rows {why} left out")
    if result.rows_of_repeated_keys:
        print(f"  {result.rows_of_repeated_keys:,} rows of repeated keys became {result.rows_collapsed_into:,}")
    for column, counts in result.fields.items():
        print(f"  {column:<24}{counts.values:>13,} values{counts.empty:>13,} empty{counts.invalid:>13,} invalid")
    for table in result.tables:
        print(f"  {table.name}: {table.rows:,} rows, {len(table.columns)} columns, {len(table.files)} file(s)")


def _explain(options: argparse.Namespace) -> int:
    """Shows values, so only on a terminal and never into a pipe or file."""
    if not sys.stdout.isatty():
        print("explain shows a person's data and so writes to a terminal only", file=sys.stderr)
        return COULD_NOT_RUN
    mapping = _mapping(options)
    country = mappings.country_named(options.country)
    source = find(options.files, default_s3)[0]
    layout = describe(source)
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
            print("that row has another count of fields than the header and is left out", file=sys.stderr)
            return PROBLEMS
        records += batch.records
    print(f"the file has {records:,} rows", file=sys.stderr)
    return COULD_NOT_RUN


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
        print(
            f"{name:<20} {value!r}\n{'':<20} → {standard!r}\n{'':<20} → {digest or '(null)' if rule else '(carried)'}"
        )


if __name__ == "__main__":
    sys.exit(main())
