"""What is not known yet, as shell variables and as marks in texts."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from onboarding.guide.plan import Call, Ref, dump


class Names:
    """Shell variables that stand for outputs which are known only once an earlier call was made.

    In texts they are marks that survive URL quoting and JSON unchanged, and that occur in no answer of a person.
    """

    def __init__(self, calls: Iterable[Call]) -> None:
        self.taken: dict[Ref, str] = {}
        content = json.dumps(dump(calls))
        self.edge = "REF"
        while self.edge in content:
            self.edge += "X"
        self.pattern = re.compile(f"{self.edge}-([A-Z0-9_]+)-{self.edge}")

    def of(self, ref: Ref) -> str:
        """The variable for `ref`, the same each time."""
        if ref not in self.taken:
            name = snake(ref.path.rpartition(".")[2])
            if not name.startswith(snake(ref.call)):
                name = f"{snake(ref.call)}_{name}"
            while name in self.taken.values():
                name += "_2"
            self.taken[ref] = name
        return self.taken[ref]

    def filled(self, value: Any) -> Any:
        """`value` with a mark in place of every reference."""
        if isinstance(value, Ref):
            return f"{self.edge}-{self.of(value)}-{self.edge}"
        if isinstance(value, Mapping):
            return {key: self.filled(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.filled(item) for item in value]
        return value

    def found_in(self, text: str) -> list[str]:
        """The variables whose marks are in `text`."""
        return sorted(set(self.pattern.findall(text)))

    def shown(self, text: str) -> str:
        """`text` with `${NAME}` in place of the marks."""
        return self.pattern.sub(r"${\1}", text)

    def quoted(self, text: str) -> str:
        """`text` as one word of a POSIX shell, with the marks in it as variables."""
        if not self.pattern.search(text):
            return shlex.quote(text)
        escaped = re.sub(r'([\\"$`])', r"\\\1", text)
        return '"' + self.pattern.sub(r"${\1}", escaped) + '"'


def snake(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)).upper()


def kebab(text: str) -> str:
    return snake(text).replace("_", "-").lower()


def as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
