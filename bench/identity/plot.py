"""Draws rows a second and peak memory against rows, from what run.py measured.

python -m bench.identity.plot docs/identity-bench.json docs/identity-bench.svg
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

# Words stay words, and the same figures give the same file.
plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "identity"})


def draw(measured, out):
    sizes = sorted(measured["sizes"], key=lambda size: size["rows"])
    rows = [size["rows"] / 1e6 for size in sizes]
    figure, (speed, memory) = plt.subplots(1, 2, figsize=(9, 3.4))
    speed.plot(rows, [size["rows"] / size["cpu"] / 1000 for size in sizes], "o-", label="a second of one processor")
    speed.plot(rows, [size["rows"] / size["seconds"] / 1000 for size in sizes], "s--", label="a second on the clock")
    speed.set(xscale="log", xlabel="million rows", ylabel="thousand rows", title="Speed", ylim=(0, None))
    speed.legend(fontsize=8)
    memory.plot(rows, [size["peak_mb"] for size in sizes], "o-")
    memory.axhline(600, color="grey", linestyle=":", label="limit")
    memory.set(xscale="log", xlabel="million rows", ylabel="peak memory, MB", title="Memory", ylim=(0, 700))
    memory.legend(fontsize=8)
    for axes in (speed, memory):
        axes.set_xticks(rows, [f"{n:g}" for n in rows])
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), sys.argv[2])
