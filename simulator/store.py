"""What exists in the simulated Amazon: named tables of JSON documents that outlast a restart.

Documents are kept as JSON text, so that nobody can change one without putting it back, and written through to SQLite
inside the same change. A change that raises leaves nothing behind, neither in memory nor on disk.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any

Document = dict[str, Any]


class Table:
    """Documents by key, in the order in which they were first put."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name
        self._rows: dict[str, str] = {}

    def get(self, key: str) -> Document | None:
        """A copy of the document under `key`, or None."""
        text = self._rows.get(key)
        return None if text is None else json.loads(text)

    def __getitem__(self, key: str) -> Document:
        document: Document = json.loads(self._rows[key])
        return document

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def keys(self) -> list[str]:
        """All keys, oldest first."""
        with self._world.lock:
            return list(self._rows)

    def under(self, prefix: str) -> list[str]:
        """The keys that begin with `prefix`, oldest first."""
        with self._world.lock:
            return [key for key in self._rows if key.startswith(prefix)]

    def values(self) -> list[Document]:
        """Copies of all documents, oldest first."""
        with self._world.lock:
            texts = list(self._rows.values())
        return [json.loads(text) for text in texts]

    def find(self, wanted: Callable[[Document], bool]) -> list[Document]:
        """Copies of the documents for which `wanted` is true, oldest first."""
        return [document for document in self.values() if wanted(document)]

    def put(self, key: str, document: Document) -> None:
        """Store `document` under `key`, replacing what was there. Only inside `World.change()`."""
        self._world.write(self._name, self._rows, key, json.dumps(document))

    def delete(self, key: str) -> None:
        """Remove what is under `key`, if anything. Only inside `World.change()`."""
        if key in self._rows:
            self._world.write(self._name, self._rows, key, None)

    def texts(self) -> dict[str, str]:
        """The documents by key, as they are kept."""
        return dict(self._rows)

    def take(self, texts: dict[str, str]) -> None:
        """Put documents as `texts` gave them. Only inside `World.change()`."""
        for key, text in texts.items():
            self._world.write(self._name, self._rows, key, text)

    def load(self, key: str, text: str) -> None:
        """Take over a row as it was read from disk."""
        self._rows[key] = text


class World:
    """All tables. `path` is the SQLite file that keeps them; without it they live as long as the process."""

    def __init__(self, path: Path | None = None) -> None:
        self.lock = RLock()
        self._tables: dict[str, Table] = {}
        self._undo: list[tuple[dict[str, str], dict[str, str]]] | None = None
        self._changed: dict[str, dict[str, str]] = {}
        self._database = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS document (position INTEGER PRIMARY KEY, tab TEXT, key TEXT, body TEXT, "
            "UNIQUE (tab, key))"
        )
        for tab, key, body in self._database.execute("SELECT tab, key, body FROM document ORDER BY position"):
            self.table(tab).load(key, body)

    def table(self, name: str) -> Table:
        """The table called `name` (such as "amc.instances"), made when first asked for."""
        with self.lock:
            if name not in self._tables:
                self._tables[name] = Table(self, name)
            return self._tables[name]

    @contextmanager
    def change(self) -> Iterator[None]:
        """Everything put or deleted inside happens together, or, if an exception leaves the block, not at all.

        Changes nest; the outermost one commits. Other threads wait.
        """
        with self.lock:
            if self._undo is not None:
                yield
                return
            self._undo = []
            self._changed = {}
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                for rows, before in reversed(self._undo):
                    rows.clear()
                    rows.update(before)
                self._database.execute("ROLLBACK")
                raise
            else:
                self._database.execute("COMMIT")
            finally:
                self._undo = None

    def write(self, tab: str, rows: dict[str, str], key: str, body: str | None) -> None:
        """Put (or, with None, delete) one row in memory and on disk. For `Table` alone."""
        if self._undo is None:
            raise RuntimeError("the world changes only inside World.change()")
        if tab not in self._changed:
            self._changed[tab] = rows
            self._undo.append((rows, dict(rows)))
        if body is None:
            rows.pop(key)
            self._database.execute("DELETE FROM document WHERE tab = ? AND key = ?", (tab, key))
        else:
            rows[key] = body
            self._database.execute(
                "INSERT INTO document (tab, key, body) VALUES (?, ?, ?) "
                "ON CONFLICT (tab, key) DO UPDATE SET body = excluded.body",
                (tab, key, body),
            )

    def next_number(self, name: str, start: int = 0) -> int:
        """The next of a sequence of whole numbers called `name`, beginning with `start`. Only inside a change."""
        numbers = self.table("sequence")
        entry = numbers.get(name)
        number = start if entry is None else int(entry["next"])
        numbers.put(name, {"next": number + 1})
        return number

    def reset(self) -> None:
        """Forget everything."""
        self.put_back({})

    def copy(self) -> dict[str, dict[str, str]]:
        """All documents, to be put back by `put_back`."""
        with self.lock:
            return {name: table.texts() for name, table in self._tables.items()}

    def put_back(self, copy: dict[str, dict[str, str]]) -> None:
        """Have everything as it was when `copy` was made, in the same order."""
        with self.lock, self.change():
            for name in list(self._tables):
                table = self._tables[name]
                for key in table.under(""):
                    table.delete(key)
            for name, texts in copy.items():
                self.table(name).take(texts)

    def close(self) -> None:
        """Close the file. Nothing may be asked afterwards."""
        with self.lock:
            self._database.close()
