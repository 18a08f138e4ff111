"""Ends the command in good order on Ctrl-C, when it is told to end, and when its terminal goes.

At any moment that is one line and exit code 2. Imports nothing of weight, so as to listen before the libraries load.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPED = 2
SAID = "stopped; nothing was published"

_asked = False


def asked() -> bool:
    """Whether a signal has asked to stop; libraries may have swallowed the exception that it raised."""
    return _asked


def listen() -> None:
    """From here on a signal ends the process at once: nothing is there to be cleaned up yet.

    An exception would go through libraries that are half loaded, some of which catch or print it.
    """
    _handle(_leave)


def stoppable(run: Callable[[], int]) -> int:
    """Gives what ``run`` gives, which sees a signal as KeyboardInterrupt, once: its cleaning up is not disturbed."""
    try:
        _handle(_interrupt)
        return run()
    except KeyboardInterrupt:
        os.write(2, SAID.encode() + b"\n")
        return STOPPED
    finally:
        # What is left is the interpreter's own end, which would print a traceback.
        _handle(signal.SIG_IGN)


def _handle(handler: Any) -> None:
    for number in SIGNALS:
        # What the caller had ignored, as nohup does, stays so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    with contextlib.suppress(OSError):
        os.write(2, SAID.encode() + b"\n")
    os._exit(STOPPED)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _asked
    if not _asked:
        _asked = True
        raise KeyboardInterrupt
