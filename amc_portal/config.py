"""Where the portal is and which token to use: from the environment, else from a file that only its owner reads."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from amc_portal.errors import Failed, Usage

URL, TOKEN, FILE = "AMC_PORTAL_URL", "AMC_PORTAL_TOKEN", "AMC_PORTAL_CONFIG"


@dataclass(frozen=True)
class Config:
    """The portal's address, without a slash at the end, and a personal token."""

    url: str
    token: str

    def __repr__(self) -> str:
        return f"Config(url={self.url!r})"


def path_of(environment: Mapping[str, str]) -> Path:
    """The file: AMC_PORTAL_CONFIG, else amc-portal/config.json below XDG_CONFIG_HOME or ~/.config."""
    if environment.get(FILE):
        return Path(environment[FILE])
    base = environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "amc-portal" / "config.json"


def load(environment: Mapping[str, str] | None = None) -> Config:
    """What is set; the environment goes before the file. Raises Usage when something is missing or unsafe."""
    environment = os.environ if environment is None else environment
    kept = _read(path_of(environment))
    url, token = environment.get(URL) or kept.get("url", ""), environment.get(TOKEN) or kept.get("token", "")
    if not url or not token:
        raise Usage(f"Nobody is signed in. Run `amc-portal login`, or set {URL} and {TOKEN}.")
    if kept.get("url") and not environment.get(TOKEN) and checked(url) != kept["url"]:
        # A token goes nowhere but to the portal that it was made by.
        raise Usage(f"The token in {path_of(environment)} is for {kept['url']}, not for {url}. Set {TOKEN} as well.")
    return Config(checked(url), token)


def checked(url: str) -> str:
    """The address without a slash at the end. Raises Usage for one over which a token must not go."""
    parts = urlsplit(url)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not parts.hostname or parts.scheme not in ("https", "http") or (parts.scheme == "http" and not local):
        raise Usage("The portal's address must begin with https:// (http:// only for this machine).")
    return url.rstrip("/")


def save(config: Config, environment: Mapping[str, str] | None = None) -> Path:
    """Keep it in the file, readable by its owner alone. Raises Failed when the file can't be written."""
    path = path_of(os.environ if environment is None else environment)
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        # From its first byte on nobody else can read it.
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump({"url": config.url, "token": config.token}, file)
        part.replace(path)
    except OSError as error:
        raise Failed(f"{path} can't be written: {error.strerror}") from None
    return path


def _read(path: Path) -> dict[str, str]:
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise Usage(f"Others can read {path}, and it holds a token. Run: chmod 600 {path}")
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        raise Usage(f"{path} can't be read. Run `amc-portal login` again.") from None
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}
