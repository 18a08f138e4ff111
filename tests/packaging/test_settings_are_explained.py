"""Every setting is in .env.example, and nothing else is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from portal.env import Environment
from scripts.lint import PRODUCTION
from scripts.stack import known_settings, read_env

ROOT = Path(__file__).resolve().parents[2]
READ = re.compile(r'(?:env\.\w+|environ\.get)\(\s*"([A-Z][A-Z0-9_]*)"')


def names_read() -> set[str]:
    files = [*(ROOT / "portal").rglob("*.py"), *(ROOT / "onboarding").rglob("*.py"), ROOT / "gunicorn.conf.py"]
    return {name for file in files for name in READ.findall(file.read_text())}


def test_both_name_the_same():
    read = names_read()
    assert len(read) > 25
    assert known_settings() == read


def test_the_example_is_read_as_a_shell_would():
    assert set(read_env(ROOT / ".env.example")) <= known_settings()


def test_the_defaults_it_shows_are_the_real_ones():
    """Started with nothing but what has no default, the settings are those of the commented lines."""
    text = (ROOT / ".env.example").read_text()
    shown = dict(re.findall(r"^# ([A-Z][A-Z0-9_]*)=(.*)$", text, re.MULTILINE))
    code = (
        "from portal import settings as s\n"
        "print(s.CALL_TIMEOUT, s.LEASE_SECONDS, s.CLOCK_SECONDS, s.POLL_SCALE, s.RETRY_SCALE, s.AMC_URL,\n"
        "      s.LOGIN_AUTHORIZE_URL, s.LOGIN_TOKEN_URL, s.LOGIN_PROFILE_URL, s.DEFAULT_FROM_EMAIL,\n"
        "      s.SESSION_COOKIE_AGE / 3600, s.LOG_JSON, s.DEBUG, s.NIGHT_BEGINS, s.NIGHT_HOURS, sep='\\n')\n"
    )
    clean = {name: value for name, value in os.environ.items() if name not in known_settings()}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**clean, **PRODUCTION}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    names = ("CALL_TIMEOUT", "LEASE_SECONDS", "CLOCK_SECONDS", "POLL_SCALE", "RETRY_SCALE", "AMC_URL")
    names += ("LOGIN_AUTHORIZE_URL", "LOGIN_TOKEN_URL", "LOGIN_PROFILE_URL", "FROM_EMAIL", "SESSION_HOURS")
    names += ("LOG_JSON", "DEBUG", "NIGHT_BEGINS", "NIGHT_HOURS")
    real = dict(zip(names, done.stdout.splitlines(), strict=True))
    for name in names:
        expected, found = shown[name], real[name]
        if expected.replace(".", "").isdigit():
            assert float(expected) == float(found), name
        else:
            assert expected.lower() == found.lower(), name


GOOD = {
    "redis": (
        "redis://127.0.0.1:6379/0",
        "rediss://user:pass@cache.example.com:6380/1?ssl_cert_reqs=required",
        "unix:///run/redis.sock?db=1",
    ),
    "database": ("postgres://u:p@db.example.com:5432/portal?sslmode=require", "sqlite:////var/lib/portal.sqlite3"),
    "mail": ("smtp+tls://u:p@mail.example.com:587", "smtp://relay", "consolemail://", "filemail:///var/mail/portal"),
}
BAD = {
    "redis": ("http://x", "redis:/x", "redis://", "redis://host:port/0", "redis://[", "unix://", "localhost:6379"),
    "database": ("foo://x", "x", "postgres://u:p@host:port/name", "postgres://host", "mysql://u:p@host/name"),
    "mail": ("smtp:/", "smtp+tls://", "smtp://host:port", "filemail://", "mail.example.com", "foo://x"),
}
DEFAULTS = {"redis": "redis://127.0.0.1:6379/0", "database": "sqlite:////tmp/x.sqlite3", "mail": "consolemail://"}


@pytest.mark.parametrize("kind", GOOD)
def test_an_address_that_can_not_be_one_is_refused_at_once(kind):
    for value in GOOD[kind]:
        env = Environment({"NAME": value})
        assert getattr(env, kind)("NAME", DEFAULTS[kind]) and env.problems == [], value
    for value in BAD[kind]:
        env = Environment({"NAME": value})
        getattr(env, kind)("NAME", DEFAULTS[kind])
        assert len(env.problems) == 1 and env.problems[0].startswith("NAME must be"), (value, env.problems)


def test_the_key_has_the_length_that_the_example_asks_for():
    asked = re.search(r"at least (\d+) random characters", (ROOT / ".env.example").read_text())
    assert asked is not None
    for length, problems in ((int(asked[1]), 0), (int(asked[1]) - 1, 1)):
        environment = {**os.environ, **PRODUCTION, "SECRET_KEY": "k" * length}
        done = subprocess.run(
            [sys.executable, "-c", "import portal.settings"], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.stderr.count("SECRET_KEY must have at least") == problems, done.stderr
