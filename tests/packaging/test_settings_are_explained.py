"""Every setting is in .env.example, and nothing else is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

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
