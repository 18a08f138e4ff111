"""Records every exchange: what was asked and answered, without secrets and without identity data."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from simulator.store import Document

KEPT = 20_000
"""How many of the latest exchanges are kept in memory for `since`."""
TEXT_LIMIT = 32_768
REDACTED = "redacted"

_HEADERS = {"authorization", "cookie", "set-cookie", "x-amz-security-token"}
_SECRETS = {
    "client_secret",
    "access_token",
    "refresh_token",
    "code_verifier",
    "password",
    "nonce",
    "secretaccesskey",
    "sessiontoken",
    "x-amz-signature",
    "x-amz-security-token",
    "x-amz-credential",
}
_IN_ADDRESSES = _SECRETS | {"code"}
_XML = re.compile(r"(<(SecretAccessKey|SessionToken)>)[^<]*(</\2>)")
_TEXT = ("json", "x-www-form-urlencoded", "xml")
_ROWS = {"athena:GetQueryResults"}
"""Operations whose answers hold rows of customers' files."""


class Capture:
    """The exchanges so far: the latest in memory, all of them in `path` as JSON lines if there is one."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._latest: deque[Document] = deque(maxlen=KEPT)
        self._count = 0
        self._era = 0
        self._file: IO[str] | None = None
        if path is not None:
            if path.exists():
                with path.open("rb") as lines:
                    self._count = sum(1 for _ in lines)
            self._file = path.open("a", encoding="utf-8", buffering=1)

    @property
    def count(self) -> int:
        """How many exchanges there have been."""
        return self._count

    @property
    def era(self) -> int:
        """How often all was forgotten: a request that began in an earlier era belongs to a world that is gone."""
        return self._era

    def record(self, exchange: Document, era: int | None = None) -> None:
        """Number and keep one exchange, already made safe by `safe_*`; not one of an earlier `era`."""
        with self._lock:
            if era is not None and era != self._era:
                return
            self._count += 1
            numbered = {"number": self._count, **exchange}
            self._latest.append(numbered)
            if self._file is not None:
                self._file.write(json.dumps(numbered) + "\n")

    def since(self, number: int) -> list[Document]:
        """The exchanges after the one with this number, oldest first, as far as they are still in memory."""
        with self._lock:
            return [one for one in self._latest if one["number"] > number]

    def clear(self) -> None:
        """Forget all exchanges, in the file too."""
        with self._lock:
            self._latest.clear()
            self._count = 0
            self._era += 1
            if self._file is not None and self._path is not None:
                self._file.close()
                self._file = self._path.open("w", encoding="utf-8", buffering=1)

    def put_back(self, exchanges: list[Document]) -> None:
        """Forget all exchanges but these, which `since(0)` gave: those after them were never made."""
        self.clear()
        for one in exchanges:
            self.record({name: value for name, value in one.items() if name != "number"})

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None


def safe_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers without what gives access."""
    safe = {}
    for name, value in headers:
        if name.lower() in _HEADERS:
            value = REDACTED
        elif name.lower() in ("location", "referer"):
            value = safe_address(value)
        safe[name] = value
    return safe


def safe_query(query: str) -> str:
    """A query string without what gives access."""
    pairs = parse_qsl(query, keep_blank_values=True)
    return urlencode([(name, REDACTED if name.lower() in _IN_ADDRESSES else value) for name, value in pairs])


def safe_address(address: str) -> str:
    """An address without what gives access."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return REDACTED
    return urlunsplit(parts._replace(query=safe_query(parts.query)))


def safe_body(operation: str, content_type: str, body: bytes, answer: bool) -> Any:
    """A body as it may be kept: JSON or text without secrets; of everything else the size and a digest."""
    if not body:
        return None
    digest = {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    kind = content_type.partition(";")[0].strip().lower()
    rows = operation in _ROWS and answer
    objects = operation.startswith("s3:") and "xml" not in kind
    if len(body) > TEXT_LIMIT or rows or objects or not any(one in kind for one in _TEXT):
        return digest
    try:
        text = body.decode()
        if "urlencoded" in kind:
            return safe_query(text)
        return _without_secrets(json.loads(text)) if "json" in kind else _XML.sub(rf"\1{REDACTED}\3", text)
    except (ValueError, RecursionError):
        return digest  # not what it says it is


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: REDACTED if key.lower() in _SECRETS else _without_secrets(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_secrets(inner) for inner in value]
    return value
