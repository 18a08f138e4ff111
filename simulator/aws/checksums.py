"""The checksums of S3 uploads: what was sent is compared, what a multipart upload promised is asked for and kept."""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_BLOCK = 1 << 20
_PART = re.compile(rb"<Part>(.*?)</Part>", re.DOTALL)
_NUMBER = re.compile(rb"<PartNumber>(\d+)</PartNumber>")
_SENT = re.compile(rb"<ChecksumSHA256>([^<]+)</ChecksumSHA256>")
PREFIX = "x-amz-checksum-"


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


_ALGORITHMS: Mapping[str, Callable[[], Any]] = {
    "sha256": hashlib.sha256,
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "crc32": _Crc32,
}


def differing(path: Path, headers: Mapping[str, str]) -> str:
    """The name of the first algorithm whose checksum in `headers` is not that of the file, or an empty text."""
    for name, make in _ALGORITHMS.items():
        wanted = headers.get(PREFIX + name)
        if wanted is None:
            continue
        digest = make()
        with path.open("rb") as body:
            while block := body.read(_BLOCK):
                digest.update(block)
        if base64.b64encode(digest.digest()).decode() != wanted:
            return name.upper()
    return ""


def promise(multipart: Any, headers: Mapping[str, str]) -> None:
    """Remember which algorithm a multipart upload was begun with."""
    multipart.part_algorithm = headers.get("x-amz-checksum-algorithm", "").lower()


def promised(multipart: Any) -> str:
    """The algorithm that every part must have a checksum of; empty for none."""
    return str(getattr(multipart, "part_algorithm", ""))


def keep(part: Any, headers: Mapping[str, str]) -> None:
    """Keep the SHA-256 that a part was sent with."""
    part.part_checksum = headers.get(PREFIX + "sha256", "")


def with_checksums(listed: bytes, multipart: Any) -> bytes:
    """An answer of ListParts with each part's checksum in it."""

    def told(found: re.Match[bytes]) -> bytes:
        number = _NUMBER.search(found[1])
        part = multipart.parts.get(int(number[1])) if number else None
        checksum = str(getattr(part, "part_checksum", ""))
        if not checksum:
            return found[0]
        return b"<Part>" + found[1] + b"<ChecksumSHA256>" + checksum.encode() + b"</ChecksumSHA256></Part>"

    return _PART.sub(told, listed)


def wrong_part(body: bytes, multipart: Any) -> bool:
    """Whether the list of parts to join lacks a checksum that was promised, or names another than was sent."""
    if promised(multipart) != "sha256":
        return False
    for found in _PART.finditer(body):
        number, sent = _NUMBER.search(found[1]), _SENT.search(found[1])
        part = multipart.parts.get(int(number[1])) if number else None
        if part is not None and (sent is None or sent[1].decode() != getattr(part, "part_checksum", "")):
            return True
    return False
