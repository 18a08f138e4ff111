"""The watch over the log that runs beside every test sees what it is there for."""

from __future__ import annotations

import logging

import pytest
import structlog

from tests.leaks import first_leak

LEAKS = (
    "Atza|IwEBabcdefgh",
    "code=AN0123456789abcdef01",
    "amcp_abcdefghijklmnopqrstuvwxyz",
    "Authorization: Bearer abcdefghijklmnop",
    "https://b.s3.amazonaws.com/k?X-Amz-Signature=abc",
    "zqxjmarker7",
)


@pytest.mark.parametrize("text", LEAKS)
def test_each_kind_of_secret_is_seen(text, watch):
    assert first_leak(f"before {text} after")
    structlog.get_logger("portal.tried").info("something", value=text)
    logging.getLogger("portal.tried").warning("plain %s", text)
    assert len(watch.found) == 2
    watch.found.clear()


def test_harmless_words_are_not(watch):
    for text in ("Atzr|", "the bearer of news", "ANNA", "amcp_ab12", "X-Amz-Date=20261101T090000Z"):
        assert not first_leak(text)
    try:
        raise ValueError(LEAKS[0])
    except ValueError:
        logging.getLogger("portal.tried").exception("it failed")
    assert watch.found == []
    assert first_leak("the key is hunter2-hunter2", ("hunter2-hunter2",))
