"""Onboardings on several hosts, of which one worker's is cut off in the middle of a call; see the package."""

from __future__ import annotations

import collections
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

import httpx

from scripts.stack import ROOT, redis_server
from tests.chaos import lane
from tests.hosts.network import NETWORK, Host, Watch, make_switch
from tests.postgres import postgres

RUNS = 3
CUT_AT = "cleanrooms:CreateMembership"
TIMES = {
    "CALL_TIMEOUT": "4",
    "LEASE_SECONDS": "7",
    "CLOCK_SECONDS": "0.3",
    "PUT_AGAIN_SECONDS": "3",
    "POLL_SCALE": "0.02",
    "RETRY_SCALE": "0.05",
    "LOG_LEVEL": "INFO",
}


def until(condition, seconds: float, what: str):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds:g} s: {what}")


def file(name: str) -> str:
    return lane.WHOLE_FILE.replace("Chaos", name).replace("chaos-", f"{name.lower()}-")


class Portal:
    """The portal's hosts, and people who use it through its API."""

    def __init__(self, folder: Path, hosts: dict[str, Host]) -> None:
        self.folder, self.hosts = folder, hosts
        self.amazon = httpx.Client(base_url=f"http://{hosts['amazon'].address}:8900", timeout=20)
        self.webs = [f"http://{hosts[name].address}:8000/api/v1" for name in ("web-1", "web-2")]
        self.turn, self.tokens = 0, {}

    def start(self, host: str, *command: str, **environment: str) -> None:
        self.hosts[host].run(list(command), {**os.environ, **environment}, self.folder / f"{host}.log")

    def control(self, method: str, path: str, body=None):
        answer = self.amazon.request(method, f"/_simulator/{path}", json=body)
        answer.raise_for_status()
        return answer.json()

    def api(self, who: str, method: str, path: str, **options):
        """Ask the web hosts in turn."""
        self.turn += 1
        headers = {"Authorization": f"Bearer {self.tokens[who]}", **options.pop("headers", {})}
        answer = httpx.request(method, self.webs[self.turn % 2] + path, headers=headers, timeout=60, **options)
        return answer

    def begin(self, name: str) -> None:
        answer = self.api(
            "analyst", "POST", "/runs?submit=true", content=file(name), headers={"Content-Type": "application/yaml"}
        )
        assert answer.status_code == 201, answer.text

    def go_on(self) -> None:
        """The analyst submits what is ready, the approver approves what was asked."""
        for run in self.api("analyst", "GET", "/runs?open=true").json()["items"]:
            answer = self.api("analyst", "POST", f"/runs/{run['id']}/submit", json={})
            assert answer.status_code in (200, 409), answer.text
        for request in self.api("approver", "GET", "/requests?state=open").json()["items"]:
            answer = self.api(
                "approver", "POST", f"/requests/{request['id']}/approve", json={"digest": request["digest"]}
            )
            assert answer.status_code in (200, 403, 409), answer.text


def _standing(names: list[str]) -> dict[str, dict[str, str]]:
    from onboarding.models import Step

    found: dict[str, dict[str, str]] = {}
    rows = Step.objects.filter(run__instance__name__in=names).order_by("position")
    for name, key, state, failure in rows.values_list("run__instance__name", "key", "state", "failure"):
        assert state != "failed", (name, key, failure)
        found.setdefault(name, {})[key] = state
    return found


def _far(steps: dict[str, str]) -> bool:
    """Whether a run has come as far as it goes here: the data bucket is made."""
    return steps.get("data-bucket") == "done"


def _held_by(host: str) -> bool:
    from onboarding.models import Step

    return Step.objects.filter(key="join", state="running", lease_owner__startswith=f"{host}-").exists()


def _has_worked(host: str) -> int:
    """How many jobs the workers of this host have done."""
    import django_rq
    from rq import Worker

    workers = Worker.all(connection=django_rq.get_queue("default").connection)
    return sum(one.successful_job_count or 0 for one in workers if one.hostname == host)


def check(portal: Portal, names: list[str]) -> None:
    """Each thing once, in Amazon and in the portal's own words."""
    from django.db.models import Count

    from onboarding import audit
    from onboarding.models import AuditEntry, Instance

    headers = {
        "Authorization": f"Bearer {portal.control('GET', 'token?person=admin')['access_token']}",
        "Amazon-Advertising-API-ClientId": "amzn1.application-oa2-client.demo",
        "Amazon-Advertising-API-AdvertiserId": lane.ENTITY,
        "Amazon-Advertising-API-MarketplaceId": lane.MARKETPLACE,
        "Content-Type": "application/vnd.amcinstances.v1+json",
    }
    made = portal.amazon.get("/amc/instances?limit=100", headers=headers).json()["instances"]
    mine = [one for one in made if one["instanceName"] in names]
    assert sorted(one["instanceName"] for one in mine) == sorted(names)
    known = Instance.objects.filter(name__in=names).values_list("name", "instance_id")
    assert sorted(known) == sorted((one["instanceName"], one["instanceId"]) for one in mine)

    import boto3

    def aws(service: str):
        return boto3.client(
            service,
            endpoint_url=str(portal.amazon.base_url),
            region_name="us-east-1",
            aws_access_key_id=lane.AWS_ACCOUNT,
            aws_secret_access_key="any",
        )

    memberships = aws("cleanrooms").list_memberships()["membershipSummaries"]
    assert [one["status"] for one in memberships] == ["ACTIVE"] * len(names)
    assert len({one["collaborationId"] for one in memberships}) == len(names)
    roles = aws("iam").list_roles(PathPrefix="/service-role/")["Roles"]
    assert len(roles) == len(names), [one["RoleName"] for one in roles]
    buckets = sorted(one["Name"] for one in aws("s3").list_buckets()["Buckets"])
    assert buckets == sorted(f"{name.lower()}-{kind}" for name in names for kind in ("data", "results"))
    once = AuditEntry.objects.filter(
        act__in=["step.done", "call.made", "call.adopted", "run.started", "request.approved"]
    )
    twice = once.order_by().values("act", "subject", "subject_ref").annotate(number=Count("pk")).filter(number__gt=1)
    assert list(twice) == []
    verdict = audit.verify()
    assert verdict.whole and verdict.entries > 100, verdict


def settings_of(hosts: dict[str, Host], database: str) -> dict[str, str]:
    from simulator.people import CLIENT_ID, CLIENT_SECRET

    amazon = f"http://{hosts['amazon'].address}:8900"
    return {
        **TIMES,
        "DJANGO_SETTINGS_MODULE": "portal.settings",
        "PYTHONPATH": str(ROOT),
        "SECRET_KEY": "only-for-tests-" * 4,
        "FIELD_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "PORTAL_URL": f"http://{hosts['web-1'].address}:8000",
        "ALLOWED_HOSTS": ",".join(hosts[name].address for name in ("web-1", "web-2")),
        "DATABASE_URL": database,
        "REDIS_URL": f"redis://{hosts['redis'].address}:6379/0",
        "LOGIN_CLIENT_ID": CLIENT_ID,
        "LOGIN_CLIENT_SECRET": CLIENT_SECRET,
        "LOGIN_TOKEN_URL": f"{amazon}/auth/o2/token",
        "AMC_URL": amazon,
        "AWS_ENDPOINT_URL": amazon,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": lane.PORTAL_ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "any",
        "PORTAL_AWS_PRINCIPAL": lane.PORTAL_PRINCIPAL,
        "LOG_JSON": "true",
        "VAR_DIR": tempfile.gettempdir(),
        "BIND": "0.0.0.0:8000",
        "WEB_WORKERS": "1",
        "API_TOKEN_LIMIT": "100000",
        "API_ADDRESS_LIMIT": "100000",
    }


def main() -> None:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    make_switch()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hosts-")))
        names = ("database", "redis", "amazon", "web-1", "web-2", "worker-1", "worker-2", "worker-3")
        hosts = {}
        for number, name in enumerate(names, start=11):
            hosts[name] = Host(name, number)
            stack.callback(hosts[name].close)
        database = hosts["database"]
        url = stack.enter_context(postgres(database.inside, database.address, f"{NETWORK}.0/24"))
        os.environ.update(settings_of(hosts, url))
        portal = Portal(folder, hosts)
        try:
            carry_out(portal, stack, say)
        except BaseException:
            for log in sorted(folder.glob("*.log")):
                print(f"--- {log.name}\n{log.read_text()[-1500:]}", flush=True)
            raise
        say("done")


def carry_out(portal: Portal, stack: contextlib.ExitStack, say) -> None:
    hosts, python = portal.hosts, sys.executable
    portal.start(
        "redis",
        redis_server(),
        "--bind",
        "0.0.0.0",
        "--protected-mode",
        "no",
        "--save",
        "",
        "--dir",
        str(portal.folder),
    )
    portal.start("amazon", python, "-m", "simulator", "--host", "0.0.0.0", "--pace", "fast", "--role-delay", "0")
    import django

    django.setup()
    from django.core.management import call_command
    from django.utils import timezone

    from onboarding.models import Person
    from onboarding.services import tokens

    call_command("migrate", verbosity=0)
    say("migrated")
    manage = (python, str(ROOT / "manage.py"))
    for name in ("web-1", "web-2"):
        portal.start(name, python, "-m", "gunicorn", "portal.wsgi", "--config", str(ROOT / "gunicorn.conf.py"))
        portal.start(name, *manage, "clock")
    for number in (1, 2, 3):
        portal.start(f"worker-{number}", *manage, "rqworker", "default")
    watch = Watch(list(hosts.values()), portal.folder)
    watch.start()
    stack.callback(watch.stop)

    def amazon_is_there() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return portal.amazon.get("/_simulator/health").status_code == 200
        return False

    until(amazon_is_there, 60, "the local Amazon answers")
    lane._people(portal.control("GET", "token?person=admin")["refresh_token"], False)
    for role, email in lane.PEOPLE.items():
        someone = Person.objects.get(email=email)
        options = {"may_act": True, "may_approve": role == "approver", "days": 1, "now": timezone.now()}
        portal.tokens[role] = tokens.make(someone, name=role, **options)[1]

    def webs_are_there() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return all(portal.api("analyst", "GET", "/me").status_code == 200 for _ in range(2))
        return False

    until(webs_are_there, 90, "both web hosts answer")
    say("two web hosts, three workers' hosts, a database, a Redis and Amazon are up")
    runs = [f"Host{number}" for number in range(1, RUNS + 1)]
    portal.control("POST", "rules", {"operation": CUT_AT, "times": None, "action": {"kind": "slow", "seconds": 2.5}})
    for name in runs:
        portal.begin(name)

    def in_the_middle() -> bool:
        portal.go_on()
        if all(steps.get("join") == "done" for steps in _standing(runs).values()):
            # The others were quicker: one more.
            runs.append(f"Host{len(runs) + 1}")
            portal.begin(runs[-1])
        return _held_by("worker-3")

    until(in_the_middle, 150, "worker-3 carries out a join")
    hosts["worker-3"].cut_off()
    say("worker-3 is cut off in the middle of a join")

    def far() -> bool:
        portal.go_on()
        return all(_far(steps) for steps in _standing(runs).values())

    until(far, 200, "the others bring every onboarding to its end")
    say("the other two have brought every onboarding to its end")
    check(portal, runs)
    for name in ("worker-1", "worker-2"):
        watch.hosts.remove(hosts[name])
        hosts[name].stop()
    hosts["worker-3"].plug_in()
    say("worker-3 is back, and alone")
    runs.append("Later")
    portal.control("DELETE", "rules")
    portal.begin("Later")
    until(far, 200, "worker-3 brings a further onboarding to its end")
    until(lambda: _has_worked("worker-3"), 20, "its worker is on the list")
    check(portal, runs)
    calls = collections.Counter(one["operation"] for one in portal.control("GET", "exchanges"))
    say(
        f"{len(runs)} onboardings, {sum(calls.values())} calls, each thing made once; {watch.revived} processes revived"
    )


if __name__ == "__main__":
    main()
