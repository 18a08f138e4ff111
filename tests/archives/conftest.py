"""Two onboardings on the local Amazon: one that the worker carries out, one that people carry out with the archives."""

from __future__ import annotations

import io
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from onboarding.engine import queue
from onboarding.guide import render
from onboarding.selectors import runs as selector
from simulator import people
from tests.engine.conftest import person
from tests.join.conftest import Joining, aws, portal_itself  # noqa: F401
from tests.simulated import amazon, connect  # noqa: F401
from tests.warm_aws import INSTALLED, warm_aws

ROOT = Path(__file__).resolve().parents[2]
# AMC account, AWS account that joins, AWS account of the partner
WORKERS = (people.HARBOUR, "111122223333", "222233334444")
PEOPLES = (people.LUMEN, "444455556666", "777788889999")


class World(Joining):
    """A run of one AMC account."""

    def __init__(self, amazon, who: tuple, who_acts: str) -> None:  # noqa: F811
        entity, self.primary, self.partner = who
        self.who_acts = who_acts
        name = entity.name.split()[0]
        account = connect(amazon, account=entity)
        super().__init__(
            amazon, account, person(account, f"Mia {name}", "analyst"), person(account, f"Paul {name}", "approver")
        )

    def describe_instance(self, multi: bool) -> None:
        self.answer("requirements", "eligibility", agreement="on", campaigns="on", advertisers="on")
        self.answer("requirements", "aws", aws_account="on", aws_services="on", two_buckets="on")
        self.submit("requirements")
        assert self.work("amc-access").state == "done"
        self.answer("create-instance", "name", name="Join me")
        self.answer("create-instance", "advertiser", name="Acme")
        self.answer("create-instance", "aws-account", account_id=self.primary)
        self.answer("create-instance", "parties", multi="yes" if multi else "no")
        if multi:
            self.answer("create-instance", "partners", account_1=self.partner, name_1="Source Data 1")

    def until_join(self, bucket: str) -> None:
        """From the submitted instance to the described join."""
        self.submit("create-instance")
        assert self.work("create-instance").state == "done", self.step("create-instance").failure
        assert self.work("collaboration").state == "done"
        self.answer("aws-access", "who", who=self.who_acts)
        self.submit("aws-access")
        if self.who_acts == "portal":
            assert self.work("aws-access").state == "done", self.step("aws-access").failure
        assert self.work("invitation").state == "done", self.step("invitation").failure
        self.describe_join(bucket)
        if self.who_acts != "portal":
            self.answer("join", "payment-terms", may="no")

    def archive(self, key: str) -> bytes:
        """What the page of a step has for download."""
        self.run.refresh_from_db()
        onboarding = selector.onboarding_of(self.run.instance)
        calls = selector.all_calls_of(onboarding, onboarding.step(key))
        return render.archive(calls, self.account, f"{key} of {self.run.instance}")

    def membership(self, account: str) -> list[dict]:
        return aws(self.amazon.url, account, "cleanrooms").list_memberships()["membershipSummaries"]


class Shell:
    """An administrator's shell in a folder of its own; `aws` is in the folder `tools`."""

    def __init__(self, url: str, folder: Path, token: str, tools: Path | None = None) -> None:
        self.folder = folder
        self.environment = {
            "PATH": f"{tools or warm_aws()}:{INSTALLED}:{os.environ['PATH']}",
            "HOME": str(folder),
            "AWS_ENDPOINT_URL": url,
            # For the command that prepares identity files.
            "AWS_DEFAULT_REGION": "us-east-1",
            "PYTHONPATH": str(ROOT),
            "AWS_SECRET_ACCESS_KEY": "any",
            "POLL_SECONDS": "1",
        }
        self.amc = {"AMC_TOKEN": token, "AMC_CLIENT_ID": people.CLIENT_ID}

    def unpack(self, archive: bytes, name: str) -> Path:
        folder = self.folder / name
        with zipfile.ZipFile(io.BytesIO(archive)) as content:
            content.extractall(folder)
        return folder

    def start(
        self, folder: Path, account: str = "", script: str = "run.sh", *, amc: bool = False, **more
    ) -> subprocess.Popen:
        environment = self.environment | (self.amc if amc else {}) | ({"AWS_ACCESS_KEY_ID": account} if account else {})
        return subprocess.Popen(
            ["sh", folder / script],
            env=environment | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(
        self, folder: Path, account: str = "", script: str = "run.sh", *, amc: bool = False, **more
    ) -> tuple[int, str]:
        """The exit status and everything that the script, and whatever it ran, said."""
        process = self.start(folder, account, script, amc=amc, **more)
        out, said = process.communicate(timeout=300)
        return process.returncode, said + out


@pytest.fixture
def worlds(amazon, portal_itself, monkeypatch, settings, db):  # noqa: F811
    """`worlds(who, who_acts)`: an onboarding of one of the two AMC accounts."""
    monkeypatch.setattr(queue, "put", lambda ids: True)
    settings.POLL_SCALE = settings.RETRY_SCALE = 0.001
    return lambda who, who_acts: World(amazon, who, who_acts)


@pytest.fixture
def shell(amazon, tmp_path) -> Shell:  # noqa: F811
    return Shell(amazon.url, tmp_path, amazon.token("admin")["access_token"])


@pytest.fixture
def cold_shell(amazon, tmp_path) -> Shell:  # noqa: F811
    """A shell with the installed `aws`."""
    return Shell(amazon.url, tmp_path, amazon.token("admin")["access_token"], INSTALLED)


@pytest.fixture
def people_alone(worlds) -> World:
    return worlds(PEOPLES, "ourselves")
