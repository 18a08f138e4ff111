"""`make owner ACCOUNT=… FILE=…`: run downloaded commands as the administrator of an account of the local Amazon.

The portal offers scripts for whoever owns an AWS account. They call the real `aws`, which comes with the environment.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from scripts.stack import ROOT, StackError, read_env


def environment_of(endpoint: str, account: str, base: Mapping[str, str]) -> dict[str, str]:
    """The environment in which `aws` is signed in to `account` (12 digits) of the local Amazon at `endpoint`."""
    clean = {name: value for name, value in base.items() if not name.startswith("AWS_")}
    # Each of a script's dozen `aws` would compile itself anew.
    clean.pop("PYTHONDONTWRITEBYTECODE", None)
    return {
        **clean,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{base.get('PATH', os.defpath)}",
        "AWS_ENDPOINT_URL": endpoint,
        # The local Amazon takes an account's number as its access key.
        "AWS_ACCESS_KEY_ID": account,
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="make owner", description=__doc__)
    parser.add_argument("account", help="12 digits, with or without dashes")
    parser.add_argument("file", type=Path, help="the script that the portal's page offered")
    parser.add_argument("--folder", type=Path, default=ROOT / "var")
    options = parser.parse_args()
    account = re.sub(r"\D", "", options.account)
    try:
        if len(account) != 12:
            raise StackError("Say whose script it is: make owner ACCOUNT=111122223333 FILE=~/Downloads/….sh")
        settings = options.folder / "local.env"
        endpoint = read_env(settings).get("AWS_ENDPOINT_URL", "") if settings.exists() else ""
        if not endpoint:
            raise StackError(f"There is no local Amazon in {options.folder}: start it with `make run`.")
        script = options.file.expanduser().resolve(strict=True)
    except (StackError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    environment = environment_of(endpoint, account, os.environ)
    return subprocess.run(["/bin/sh", script], env=environment, cwd=script.parent, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
