"""`make simulator`: the local Amazon alone. PORT=8901 chooses another port, PACE=fast how long Amazon takes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts import typed
from scripts.stack import ROOT, StackError
from simulator.__main__ import main as simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="make simulator", description=__doc__)
    parser.add_argument("--port", default="8900")
    parser.add_argument("--pace", default="demo")
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "simulator-alone")
    options = parser.parse_args()
    try:
        port, pace = typed.port(options.port), typed.pace(options.pace)
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    return simulate(["--port", str(port), "--data", str(options.folder), "--pace", pace])


if __name__ == "__main__":
    sys.exit(main())
