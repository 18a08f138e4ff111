"""Reads settings from the environment and says, all at once, what is wrong with them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import environ
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured
from redis.connection import parse_url as redis_options

T = TypeVar("T")


REDIS_SECONDS = 2
ENGINES = ("django.db.backends.sqlite3", "django.db.backends.postgresql")
# What a way of sending mail can't do without.
NEEDED = {
    "django.core.mail.backends.smtp.EmailBackend": "EMAIL_HOST",
    "django.core.mail.backends.filebased.EmailBackend": "EMAIL_FILE_PATH",
}


def with_timeouts(url: str) -> str:
    """The address of a Redis with timeouts, in seconds, unless it names some: nothing waits for one that is silent.

    RQ's workers wait longer for their next job by themselves.
    """
    parts = urlsplit(url)
    named = dict(parse_qsl(parts.query))
    wanted = {"socket_timeout": str(REDIS_SECONDS), "socket_connect_timeout": str(REDIS_SECONDS)}
    return parts._replace(query=urlencode({**wanted, **named})).geturl()


class Environment:
    """The environment, read variable by variable; `finish()` raises once with every problem found.

    A secret may also come from a file: `NAME_FILE` holds the path, as container platforms mount them.
    """

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._variables = os.environ if variables is None else variables
        self.problems: list[str] = []

    def _raw(self, name: str) -> str | None:
        path = self._variables.get(f"{name}_FILE")
        if path:
            try:
                return Path(path).read_text(encoding="utf-8").strip()
            except OSError as error:
                self.problems.append(f"{name}_FILE: cannot read the file ({error.strerror})")
                return None
        return self._variables.get(name)

    def text(self, name: str, default: str | None = None) -> str:
        """The text of `name`; a problem if it is missing and has no default."""
        value = self._raw(name)
        if value is None or value == "":
            if default is None:
                self.problems.append(f"{name} is not set")
                return ""
            return default
        return value

    def parsed(self, name: str, default: T, parse: Callable[[str], T], wanted: str) -> T:
        """`name` through `parse`; a ValueError becomes the problem "`name` must be `wanted`"."""
        value = self._raw(name)
        if value is None or value == "":
            return default
        try:
            return parse(value)
        except ValueError:
            self.problems.append(f"{name} must be {wanted}")
            return default

    def flag(self, name: str, default: bool = False) -> bool:
        """A yes-or-no variable."""

        def parse(value: str) -> bool:
            words = {
                "1": True,
                "true": True,
                "yes": True,
                "on": True,
                "0": False,
                "false": False,
                "no": False,
                "off": False,
            }
            if value.lower() not in words:
                raise ValueError
            return words[value.lower()]

        return self.parsed(name, default, parse, "true or false")

    def number(self, name: str, default: float, least: float = 0) -> float:
        """A number of at least `least`."""

        def parse(value: str) -> float:
            number = float(value)
            if not number >= least:
                raise ValueError
            return number

        return self.parsed(name, default, parse, f"a number, {least:g} or more")

    def listing(self, name: str, default: str = "") -> list[str]:
        """A list separated by commas, blanks around the parts removed."""
        return [part.strip() for part in self.text(name, default).split(",") if part.strip()]

    def secret(self, name: str, least: int) -> str:
        """A text of at least `least` characters that has no default."""
        value = self.text(name)
        if value and len(value) < least:
            self.problems.append(f"{name} must have at least {least} characters")
        return value

    def url(self, name: str, default: str | None = None) -> str:
        """An absolute http or https address, without a slash at the end."""
        value = self.text(name, default).rstrip("/")
        if value and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname):
            self.problems.append(f"{name} must be an address that begins with https:// (or http://)")
        return value

    def database(self, name: str, default: str) -> dict[str, object]:
        """A database URL as Django's settings for it."""
        with warnings.catch_warnings():
            # It would print the password.
            warnings.simplefilter("ignore")
            try:
                found = dict(environ.Env.db_url_config(self.text(name, default)))
            except (ValueError, KeyError, ImproperlyConfigured):
                found = {}
        # Whatever is no engine's scheme is taken for an engine of that name.
        if found.get("ENGINE") not in ENGINES or not found.get("NAME"):
            self.problems.append(f"{name} must be a database URL such as postgres://user:password@host/name")
            return dict(environ.Env.db_url_config(default))
        return found

    def redis(self, name: str, default: str) -> str:
        """The address of a Redis: redis:// or rediss:// with a host, or unix:// with a path."""
        value = self.text(name, default)
        try:
            named = redis_options(value)  # type: ignore[no-untyped-call]
            known = named.get("path") if value.startswith("unix:") else named.get("host")
        except ValueError:
            known = None
        if not known:
            self.problems.append(f"{name} must be the address of a Redis such as redis://host:6379/0 (or rediss://…)")
            return default
        return value

    def mail(self, name: str, default: str) -> dict[str, object]:
        """A mail URL (`smtp+tls://user:password@host:587`, `consolemail://`) as Django's EMAIL_* settings."""
        try:
            found = dict(environ.Env.email_url_config(self.text(name, default)))
        except (ValueError, KeyError, ImproperlyConfigured):
            found = {}
        wanted = NEEDED.get(str(found.get("EMAIL_BACKEND")), "EMAIL_BACKEND")
        if not found.get(wanted):
            self.problems.append(f"{name} must be a mail URL such as smtp+tls://user:password@host:587")
            return {}
        return found

    def shipping(self, name: str) -> str:
        """Where entries are shipped to: the path of a file, or syslog+udp://, syslog+tcp:// or syslog+tls://host:port."""
        value = self.text(name, "")
        if value and not value.startswith("/"):
            try:
                parts = urlsplit(value)
                known = parts.scheme in ("syslog+udp", "syslog+tcp", "syslog+tls") and parts.hostname and parts.port
            except ValueError:
                known = None
            if not known:
                self.problems.append(f"{name} must be the path of a file, or such as syslog+tls://host:6514")
        return value

    def fernet_keys(self, name: str) -> list[str]:
        """Keys for encrypting secrets at rest, the first one encrypts, all of them decrypt."""
        keys = self.listing(name, "")
        if not keys:
            self.problems.append(f"{name} is not set: make a key with `python manage.py newkey`")
        for key in keys:
            try:
                Fernet(key)
            except ValueError:
                self.problems.append(f"{name}: every key must be 32 bytes in URL-safe base64")
                break
        return keys

    def finish(self) -> None:
        """Raise ImproperlyConfigured naming every problem; return if there is none."""
        if self.problems:
            raise ImproperlyConfigured("The settings are not complete:\n  - " + "\n  - ".join(self.problems))
