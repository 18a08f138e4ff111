"""Where audit entries are shipped to besides the database: a file, or a syslog server (RFC 5424).

A batch is delivered whole or not at all as far as can be known; what is sent again carries the same number and hash.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from onboarding.clients.failures import Later

# Facility 13 (log audit), severity 6 (informational).
PRIORITY = 13 * 8 + 6
# What a datagram, and most receivers' longest message, surely hold.
LONGEST_DATAGRAM = 8_000
LONGEST_MESSAGE = 60_000
TAIL = 4_000_000


def deliver(target: str, entries: Sequence[dict[str, Any]]) -> None:
    """Append the entries, in order, to the target. Raises Later if it is away; then any of them may have arrived."""
    try:
        if target.startswith("/"):
            _append(Path(target), entries)
        else:
            _send(target, entries)
    except OSError as error:
        raise Later(
            "The audit log could not be shipped",
            why=error.strerror or type(error).__name__,
            who="Admin",
            todo="Check AUDIT_SHIP and what it names; the portal tries again by itself.",
            code=type(error).__name__,
        ) from None


def _append(path: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Write and sync. What the file already ends with, from a batch that was cut off, is not written again."""
    with path.open("a+b") as file:
        os.fchmod(file.fileno(), 0o600)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL))
        whole, _, cut = file.read().rpartition(b"\n")
        if cut:
            # A line that was half written: the entry is written again in full.
            file.truncate(size - len(cut))
        last = _number(whole.rpartition(b"\n")[2])
        file.write(b"".join(_json(entry) + b"\n" for entry in entries if int(entry["number"]) > last))
        file.flush()
        os.fsync(file.fileno())


def _number(line: bytes) -> int:
    try:
        return int(json.loads(line)["number"])
    except (ValueError, KeyError, TypeError):
        return 0


def _json(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()


def _send(target: str, entries: Sequence[dict[str, Any]]) -> None:
    parts = urlsplit(target)
    address = (str(parts.hostname), int(parts.port or 514))
    if parts.scheme == "syslog+udp":
        family, kind, protocol, _, found = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as datagrams:
            datagrams.settimeout(settings.CALL_TIMEOUT)
            # Connected, so that "nobody listens there" comes back as an error.
            datagrams.connect(found)
            for entry in entries:
                datagrams.send(message(entry, LONGEST_DATAGRAM))
        return
    with _connected(address, tls=parts.scheme == "syslog+tls") as stream:
        for entry in entries:
            text = message(entry, LONGEST_MESSAGE)
            stream.sendall(b"%d %s" % (len(text), text))
        # Syslog acknowledges nothing. But a server that closes after our end has read all of it, and one that has
        # gone away says so.
        if not isinstance(stream, ssl.SSLSocket):
            stream.shutdown(socket.SHUT_WR)
            while stream.recv(4096):
                pass
        else:
            # A server that just closes has read to our end too.
            with suppress(ssl.SSLEOFError):
                stream.unwrap().close()


@contextmanager
def _connected(address: tuple[str, int], *, tls: bool) -> Iterator[socket.socket]:
    with socket.create_connection(address, timeout=settings.CALL_TIMEOUT) as plain:
        if not tls:
            yield plain
            return
        with ssl.create_default_context().wrap_socket(plain, server_hostname=address[0]) as wrapped:
            yield wrapped


def message(entry: dict[str, Any], longest: int) -> bytes:
    """The entry as an RFC 5424 message. Details that would make it longer than `longest` bytes are left out, and it
    says so; the hash still covers them."""
    host = urlsplit(settings.PORTAL_URL).hostname or "-"
    head = f"<{PRIORITY}>1 {entry['at']} {host} amc-portal - audit - ".encode()
    body = _json(entry)
    if len(head) + len(body) > longest:
        body = _json({**entry, "details": None, "details_left_out": True})
    return head + body
