"""Measures preparing beside a bare copy, a copy that hashes, and the per-value yardstick, each in a process of its own.

    python -m bench.identity.run [FILE.csv …] [--rounds 3] [--yardstick ROWS] [--out docs/identity-bench.json]

The first file (without one, a million rows from generate.py) is put through all jobs, round by round; further files
through preparing alone, for the plot of speed and memory against rows. Fails where preparing is too slow beside the
others or takes too much memory.
"""

import argparse
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COLUMNS = ["customer_id", "first_name", "last_name", "email", "phone", "address", "city", "state", "zip", "country"]
KINDS = ["key", "first_name", "last_name", "email", "phone", "address", "city", "state", "zip", "country"]
NEEDS = {
    "copy": ["polars"],
    "copy-and-hash": ["polars_hash"],
    "prepare": ["onboarding.identity.prepare"],
    "yardstick": ["bench.identity.yardstick"],
    "yardstick-zipped": ["bench.identity.yardstick"],
}
JOBS = tuple(NEEDS)
LEAST_TIMES_THE_YARDSTICK, MOST_TIMES_THE_COPY, MOST_MB = 30, 5, 600
ROWS = 1_000_000


def copy(path, folder, rows):
    import polars as pl

    pl.scan_csv(path, infer_schema=False).sink_parquet(Path(folder) / "copy.parquet")


def copy_and_hash(path, folder, rows):
    import polars as pl
    import polars_hash

    hashed = [polars_hash.col(name).chash.sha2_256() for name in COLUMNS[1:8]]
    pl.scan_csv(path, infer_schema=False).with_columns(hashed).sink_parquet(Path(folder) / "hashed.parquet")


def prepare(path, folder, rows):
    from onboarding.identity.columns import Kind
    from onboarding.identity.prepare import prepare as run

    mapping = {column: Kind(kind) for column, kind in zip(COLUMNS, KINDS, strict=True)}
    return run([path], mapping, str(Path(folder) / "out"), country="US").rows_read


def yardstick(path, folder, rows, zipped=False):
    from bench.identity.yardstick import prepare_plainly
    from onboarding.identity.columns import Kind

    mapping = {column: Kind(kind) for column, kind in zip(COLUMNS, KINDS, strict=True)}
    return prepare_plainly(path, Path(folder) / "plain.parquet", mapping, "US", rows, zipped)


def yardstick_zipped(path, folder, rows):
    return yardstick(path, folder, rows, zipped=True)


WORK = {
    "copy": copy,
    "copy-and-hash": copy_and_hash,
    "prepare": prepare,
    "yardstick": yardstick,
    "yardstick-zipped": yardstick_zipped,
}


def job(name, path, rows):
    """Does one job here and prints what it took."""
    for module in NEEDS[name]:
        importlib.import_module(module)  # a job's time is without its imports
    with tempfile.TemporaryDirectory() as folder:
        before = resource.getrusage(resource.RUSAGE_SELF)
        start = time.perf_counter()
        done = WORK[name](path, folder, rows)
        seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak_mb": after.ru_maxrss / 1024, "rows": done}))


def measured(name, path, rows):
    command = [sys.executable, "-m", "bench.identity.run", path, "--job", name, "--yardstick", str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {**json.loads(done.stdout), "load": os.getloadavg()[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--yardstick", type=int, default=50_000, metavar="ROWS")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--job", choices=JOBS)
    options = parser.parse_args()
    if options.job:
        job(options.job, options.files[0], options.yardstick)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        if not options.files:
            from bench.identity.generate import generate  # it loads Polars, which has to come late in a job

            options.files = [str(Path(folder) / "people.csv")]
            generate(ROWS, options.files[0], repeated=0)
        result = measure(options)
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return verdict(result)


def measure(options):
    """Everything that is measured, as it is written to the file."""
    first, *others = options.files
    rounds = [{name: measured(name, first, options.yardstick) for name in JOBS} for _ in range(options.rounds)]
    rows = rounds[0]["prepare"]["rows"]
    summary = {}
    for name in JOBS:
        took = [entry[name] for entry in rounds]
        count = took[0]["rows"] or rows
        summary[name] = {
            "rows": count,
            "seconds": statistics.median(entry["seconds"] for entry in took),
            "cpu_seconds": statistics.median(entry["cpu"] for entry in took),
            "rows_per_second": statistics.median(count / entry["seconds"] for entry in took),
            "peak_mb": max(entry["peak_mb"] for entry in took),
            "load": [round(entry["load"], 1) for entry in took],
        }
    ratios = {
        "times_the_yardstick": summary["prepare"]["rows_per_second"] / summary["yardstick"]["rows_per_second"],
        "times_the_yardstick_in_cpu": _rows_per_cpu_second(summary["prepare"])
        / _rows_per_cpu_second(summary["yardstick"]),
        "times_the_zipped_yardstick": summary["prepare"]["rows_per_second"]
        / summary["yardstick-zipped"]["rows_per_second"],
        "times_the_copy": summary["prepare"]["seconds"] / summary["copy"]["seconds"],
        "times_the_copy_in_cpu": summary["prepare"]["cpu_seconds"] / summary["copy"]["cpu_seconds"],
    }
    sizes = [{"rows": rows, **rounds[-1]["prepare"]}]
    sizes += [measured("prepare", path, options.yardstick) for path in others]
    return {"jobs": summary, "ratios": ratios, "sizes": sizes}


def _rows_per_cpu_second(job):
    return job["rows"] / job["cpu_seconds"]


def verdict(result):
    """Prints how preparing compares; 1 if any of it is not as it has to be."""
    ratios, most = result["ratios"], max(size["peak_mb"] for size in result["sizes"])
    held = (
        ratios["times_the_yardstick"] >= LEAST_TIMES_THE_YARDSTICK
        and ratios["times_the_copy"] <= MOST_TIMES_THE_COPY
        and most <= MOST_MB
    )
    print(
        f"identity: {ratios['times_the_yardstick']:.0f} times the yardstick (at least {LEAST_TIMES_THE_YARDSTICK}), "
        f"{ratios['times_the_zipped_yardstick']:.0f} times the zipped one, "
        f"{ratios['times_the_copy']:.1f} times the copy's time (at most {MOST_TIMES_THE_COPY}), "
        f"{most:.0f} MB at most (at most {MOST_MB}): {'held' if held else 'FAILED'}"
    )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
