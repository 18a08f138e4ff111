"""`make audit`: whether a locked package of the portal has a known vulnerability.

Exit status: 0 none has, 1 one has, 2 the service that knows could not be asked about every package.
"""

from __future__ import annotations

import json
import subprocess
import sys

from scripts.stack import ROOT

UNKNOWN = 2


def main() -> int:
    command = ["-m", "pip_audit", "--disable-pip", "--require-hashes", "--progress-spinner", "off", "-f", "json"]
    done = subprocess.run(
        [sys.executable, *command, "-r", str(ROOT / "requirements" / "production.txt")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"audit: could not be done: {(done.stderr.strip().splitlines() or ['no answer'])[-1]}")
        return UNKNOWN
    return verdict(packages)


def verdict(packages: list[dict[str, object]]) -> int:
    """Prints what is known of the packages (pip-audit's own JSON) and gives the exit status."""
    found = 0
    for package in packages:
        vulnerabilities = package.get("vulns")
        for one in vulnerabilities if isinstance(vulnerabilities, list) else []:
            found += 1
            fixed = ", ".join(one.get("fix_versions", [])) or "none yet"
            print(f"{package['name']} {package['version']}: {one['id']}, fixed in {fixed}")
    unknown = [str(package["name"]) for package in packages if "skip_reason" in package]
    if unknown:
        print(f"audit: {len(unknown)} of {len(packages)} packages could not be asked about: {', '.join(unknown[:5])} …")
    if found:
        print(f"audit: {found} known vulnerabilities")
        return 1
    if unknown or not packages:
        return UNKNOWN
    print(f"audit: nothing is known against {len(packages)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
