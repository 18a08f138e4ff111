"""`make bench`: every benchmark, one after the other; its exit status says whether all held."""

from __future__ import annotations

import subprocess
import sys

MODULES = (
    *("bench.engine", "bench.instances", "bench.at_size", "bench.clock", "bench.thousand"),
    *("bench.simulator", "bench.identity.run"),
)


def main() -> int:
    """Each in a process of its own, so that no one warms up another."""
    failed = [module for module in MODULES if subprocess.run([sys.executable, "-m", module]).returncode]
    print(
        f"bench: {len(MODULES) - len(failed)} of {len(MODULES)} held"
        + (f", not: {', '.join(failed)}" if failed else "")
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
