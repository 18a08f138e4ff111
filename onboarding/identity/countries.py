"""The countries by name. The table is that of the time zone database, which is in the public domain."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from functools import cache
from importlib.resources import files


@cache
def names() -> Mapping[str, str]:
    """Upper-case ISO code → English name, in the order of the names."""
    text = files(__package__).joinpath("countries.json").read_text(encoding="utf-8")
    return dict(sorted(json.loads(text).items(), key=lambda item: _plain(item[1])))


def in_words(code: str) -> str:
    """A country as people read it, with the code that files have: "Austria (AT)"."""
    name = names().get(code)
    return f"{name} ({code})" if name else code


def _plain(name: str) -> str:
    # Åland stands among the A.
    return unicodedata.normalize("NFD", name).encode("ascii", "ignore").decode().casefold()
