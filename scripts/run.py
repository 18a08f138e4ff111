"""`make run`: the whole portal on this machine, its state under var/, until Ctrl-C.

PORT=8001 chooses another port; SIMULATOR=no leaves the local Amazon out, and then the settings in the file .env
(explained in .env.example) say how to reach the real one. Settings in .env win over those in var/local.env.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import sys
import threading
from pathlib import Path

from scripts import typed
from scripts.stack import ROOT, Stack, StackError, read_env

COLOURS = {"web": 36, "worker": 33, "clock": 35, "simulator": 34, "redis": 90}
# These are in var/log/ only.
QUIET = {"redis", "simulator"}
BORING = re.compile(r"\[info +\].*\[rq\.worker\]|^$")


class Terminal:
    """Lines on the terminal, each begun by the name of its process, cut to the width."""

    def __init__(self) -> None:
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._lock = threading.Lock()

    def line(self, name: str, text: str) -> None:
        """Show one line of a process."""
        if name in QUIET or BORING.search(text):
            return
        width = shutil.get_terminal_size((160, 24)).columns
        head = f"{name:<9} "
        body = text[: max(20, width - len(head))]
        self.say(self._paint(head, COLOURS.get(name.partition("-")[0], 0)) + body)

    def say(self, text: str) -> None:
        """Show a line of the supervisor's own."""
        with self._lock:
            try:
                print(text, flush=True)
            except BrokenPipeError:  # whoever read this has gone: so does the stack
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                os.kill(os.getpid(), signal.SIGTERM)

    def loud(self, text: str) -> str:
        """`text` in bold where the terminal can."""
        return self._paint(text, 1)

    def _paint(self, text: str, code: int) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and code else text


def greeting(stack: Stack, terminal: Terminal, simulator: bool) -> str:
    """The one address, and who can sign in."""
    lines = ["", terminal.loud(f"  The portal answers at {stack.url}"), ""]
    if simulator:
        from simulator.people import PEOPLE

        lines.append("  Sign in with the local Amazon as any of these people (no passwords):")
        lines += [f"    {person.name:<16} {person.title:<32} {person.email}" for person in PEOPLE]
        lines += ["", "  Run a script that a page offers, as the owner of that AWS account:"]
        lines += ["    make owner ACCOUNT=111122223333 FILE=~/Downloads/amc-onboarding-portal.sh", ""]
    lines.append(
        f"  Logs: {_short(stack.folder / 'log')}   Settings: {_short(stack.folder / 'local.env')}   Stop: Ctrl-C"
    )
    return "\n".join([*lines, ""])


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--port", default="8000")
    parser.add_argument("--folder", type=Path, default=ROOT / "var")
    parser.add_argument("--workers", default="2")
    parser.add_argument("--pace", default="demo")
    parser.add_argument("--simulator", default="yes")
    options = parser.parse_args()
    terminal = Terminal()
    stopped = threading.Event()

    def interrupt(number: int, _frame: object) -> None:
        if stopped.is_set():
            return
        stopped.set()
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    own = ROOT / ".env"
    code = 0
    stack: Stack | None = None
    try:
        simulator = typed.simulator(options.simulator)
        stack = Stack(
            options.folder,
            port=typed.port(options.port),
            workers=typed.workers(options.workers),
            simulator=simulator,
            pace=typed.pace(options.pace),
            environment=read_env(own) if own.exists() else {},
            on_line=terminal.line,
        )
        terminal.say("Starting …")
        stack.start()
        terminal.say(greeting(stack, terminal, simulator))
        stack.watch(stopped, lambda text: terminal.say(terminal.loud(text)))
    except KeyboardInterrupt:
        terminal.say("\nStopping …")
    except StackError as error:
        print(error, file=sys.stderr)
        code = 1
    finally:
        stopped.set()
        if stack is not None:
            stack.stop()
    if not code:
        terminal.say("Stopped. `make run` goes on where it was.")
    return code


if __name__ == "__main__":
    sys.exit(main())
