"""The threat model names code and tests that are there."""

from __future__ import annotations

import re

from scripts.stack import ROOT

PLACES = (ROOT, ROOT / "onboarding", ROOT / "tests")


def test_what_it_names_is_there():
    text = (ROOT / "docs" / "threat-model.md").read_text("utf-8")
    named = re.findall(r"`((?:\w+/)+(?:\w+\.py)?|\w+(?:/\w+)*\.py|tests/\w+|\w+/\w+\.py)`", text)
    assert len(set(named)) > 30
    missing = []
    for name in set(named):
        # A test module that follows another one in a cell stands in the same folder.
        if not any((place / name).exists() for place in PLACES) and not list((ROOT / "tests").rglob(name)):
            missing.append(name)
    assert missing == []
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", text):
        assert f"def {name}(" in tests
