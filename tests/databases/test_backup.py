"""Backing up and restoring, by the very commands of docs/operations.md: the portal answers, and its secrets open."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from scripts.lint import PRODUCTION
from scripts.stack import ROOT, known_settings
from tests import postgres as programs

FILL = """
import django; django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from onboarding import audit
from onboarding.models import AmcAccount, AmcConnection, Person, Role
ada = Person.objects.create_user("amzn1.account.ADA", name="Ada", email="ada@example.com")
login = AmcConnection.objects.create(label="Login", amazon_id="amzn1.login", refresh_token="a grant to open again")
account = AmcAccount.objects.create(entity_id="ENTITY1", marketplace_id="M", name="Acme", connection=login)
Role.objects.create(person=ada, account=account, name="admin")
for number in range(20):
    audit.record("backup.tried", actor=ada, account=account, subject=str(number), details={"after": [1]})
"""
LOOK = """
import django; django.setup()
from django.test import Client
from onboarding.models import AmcConnection, AuditEntry, Person
from onboarding import audit
assert AmcConnection.objects.get().refresh_token == "a grant to open again"
client = Client(SERVER_NAME="portal.example.com", headers={"X-Forwarded-Proto": "https"})
assert client.get("/readyz", secure=True).json()["database"] == "ok"
client.force_login(Person.objects.get())
assert "Acme" in client.get("/connections/", secure=True).content.decode()
# It goes on where it was: a new row gets a new key, and the chain its next entry.
audit.record("backup.went_on", actor=Person.objects.get(), subject="on")
verdict = audit.verify()
print(verdict.entries, AuditEntry.objects.count(), verdict.problem)
"""
OTHER_KEY = "b3RoZXItb3RoZXItb3RoZXItb3RoZXItb3RoZXItb3Q="


def commands() -> list[str]:
    """The two blocks of the section: backing up, and restoring."""
    section = (ROOT / "docs" / "operations.md").read_text("utf-8").split("\n## Backing up\n")[1].split("\n## ")[0]
    found = re.findall(r"^```sh\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    assert len(found) == 2
    return found


def test_what_was_backed_up_comes_back(tmp_path):
    known = known_settings()
    clean = {name: value for name, value in os.environ.items() if name not in known}
    path = os.pathsep.join([str(programs._programs()), str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {**clean, **PRODUCTION, "PATH": path, "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "portal.settings"}

    def run(*command: str, check: bool = True, **environment: str) -> str:
        done = subprocess.run(command, cwd=ROOT, env={**own, **environment}, capture_output=True, text=True)
        assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    backup, restore = commands()
    dump = str(tmp_path / "portal.dump")
    with programs.postgres() as url:
        run(sys.executable, "-c", FILL, DATABASE_URL=url)
        run("sh", "-euc", backup, DATABASE_URL=url, BACKUP_FILE=dump)
        assert b"a grant to open" not in (tmp_path / "portal.dump").read_bytes()
        restored = f"{url.rpartition('/')[0]}/restored"
        run("psql", "--quiet", "--command", "CREATE DATABASE restored", url)
        said = run("sh", "-euc", restore, DATABASE_URL=url, RESTORE_URL=restored, BACKUP_FILE=dump)
        assert "No migrations to apply" in said and "20 entries" in said, said
        assert run(sys.executable, "-c", LOOK, DATABASE_URL=restored, DEBUG="true").split()[:2] == ["21", "21"]
        # Without the keys it is useless, and says which setting is wrong.
        refused = run(
            sys.executable, "manage.py", "rotatekeys", check=False, DATABASE_URL=restored, FIELD_KEYS=OTHER_KEY
        )
        assert "FIELD_KEYS" in refused and "Traceback" not in refused
        # What is there already is not mixed with what comes back.
        again = run("sh", "-euc", restore, check=False, DATABASE_URL=url, RESTORE_URL=restored, BACKUP_FILE=dump)
        assert "already exists" in again
        assert run(sys.executable, "-c", LOOK, DATABASE_URL=restored, DEBUG="true").split()[:2] == ["22", "22"]
