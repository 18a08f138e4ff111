"""`python -m simulator`: serves the local Amazon, makes sample files, compares API descriptions."""

from __future__ import annotations

import argparse
import fcntl
import io
import logging
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import IO

from simulator.pace import PRESETS


def main(arguments: list[str] | None = None) -> int:
    """Run one of the commands; without a command, serve. Returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if given and given[0] == "sample":
        from simulator.matching.sample import main as sample

        return sample(given[1:])
    if given and given[0] == "contract":
        from simulator.contract import main as contract

        return contract(given[1:])
    if given and given[0] == "exchanges":
        from simulator.exchanges import main as exchanges

        return exchanges(given[1:])
    return serve(given[1:] if given and given[0] == "serve" else given)


def serve(given: list[str]) -> int:
    """Serve until a signal says stop."""
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8900, help="the port; 0 takes a free one (8900)")
    parser.add_argument("--data", type=Path, help="the directory that keeps everything; without it nothing is kept")
    parser.add_argument("--pace", choices=sorted(PRESETS), help="how long Amazon takes; kept with the data (demo)")
    parser.add_argument("--role-delay", type=float, help="seconds until a new IAM role can be used; kept (2)")
    parser.add_argument("--no-control", action="store_true", help="turn the control API off")
    options = parser.parse_args(given)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")

    from simulator.server import Server, Simulator

    held = _hold(options.data)
    if held is None:
        print(
            f"Another local Amazon keeps its data in {options.data}: stop it, or give another --data.", file=sys.stderr
        )
        return 1
    fresh = options.data is None or not (options.data / "world.sqlite3").exists()
    simulator = Simulator(options.data, with_control=not options.no_control)
    if options.pace or fresh:
        simulator.pace.preset(options.pace or "demo")
    if options.role_delay is not None:
        simulator.change_settings({"role_delay": options.role_delay})
    server = Server(options.host, options.port, simulator)

    def stop(_: int, __: FrameType | None) -> None:
        simulator.holds.close()
        threading.Thread(target=server.stop, name="stop").start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        server.prepare()
    except OSError as error:
        print(f"It can't listen at {options.host}:{options.port}: {error}. Give another --port.", file=sys.stderr)
        simulator.close()
        return 1
    host, port = server.bind_addr
    print(f"The local Amazon is at http://{host}:{port}/", flush=True)
    simulator.load_aws()
    try:
        server.serve()
    finally:
        server.stop()
        simulator.close()
    return 0


def _hold(data: Path | None) -> IO[str] | None:
    """A lock on the directory, for as long as it is open; None if another process has it."""
    if data is None:
        return io.StringIO()
    data.mkdir(parents=True, exist_ok=True)
    lock = (data / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


if __name__ == "__main__":
    sys.exit(main())
