"""Several hosts, one of them cut off, in networks of the test's own; see the package."""

from __future__ import annotations

import os
import subprocess
import sys

from scripts.stack import ROOT, known_settings

CANNOT = (
    "This machine does not let the test make network namespaces, so NOTHING was shown about several hosts. Run it as "
    "root (with CAP_NET_ADMIN and CAP_SYS_ADMIN), or let people make user namespaces (sysctl "
    "kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0); elsewhere leave it out "
    "knowingly: --ignore=tests/hosts. "
)


def test_a_host_that_is_cut_off_stops_nothing_and_doubles_nothing():
    network = ["unshare", "--net"]
    if os.geteuid() != 0:
        network = ["unshare", "--user", "--map-current-user", "--keep-caps", "--net"]
    asked = subprocess.run([*network, "ip", "link", "add", "switch", "type", "bridge"], capture_output=True, text=True)
    assert asked.returncode == 0, CANNOT + asked.stderr
    known = known_settings()
    own = {name: value for name, value in os.environ.items() if name not in known and not name.startswith("PYTEST_")}
    command = [*network, "--fork", "--kill-child", sys.executable, "-m", "tests.hosts"]
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout[-9000:]}\n{done.stderr[-3000:]}"
    assert "each thing made once" in done.stdout
