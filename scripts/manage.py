"""`make manage CMD="…"`: a management command in the settings of the stack that `make run` keeps."""

from __future__ import annotations

import os
import sys

from scripts.stack import ROOT, StackError, known_settings, read_env


def main() -> int:
    settings = ROOT / "var" / "local.env"
    if not settings.exists():
        print("There is no local stack yet: start it with `make run`.", file=sys.stderr)
        return 1
    own = ROOT / ".env"
    try:
        values = {**read_env(settings), **(read_env(own) if own.exists() else {})}
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    known = known_settings()
    clean = {name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in known}
    command = [sys.executable, str(ROOT / "manage.py"), *sys.argv[1:]]
    os.chdir(ROOT)
    os.execve(command[0], command, {**clean, **values})  # noqa: S606 - the project's own manage.py takes over


if __name__ == "__main__":
    sys.exit(main())
