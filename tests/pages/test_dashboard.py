"""The dashboard: exact numbers on a made-up world, links that lead to exactly these, and few queries."""

from __future__ import annotations

import csv
import html
import io
import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from onboarding.models import (
    AwsConnection,
    Instance,
    InstanceStatus,
    MappingJob,
    MappingTable,
    PartnerInvitation,
    QueryResult,
    Request,
    RequestState,
    Role,
    Run,
    Step,
    StepFailure,
    StepState,
)
from onboarding.selectors import dashboard as selector
from onboarding.selectors.scope import Scope
from onboarding.services import runs
from tests.engine.conftest import person
from tests.pages.conftest import text_of

HTMX = {"HX-Request": "true"}
DAY = timedelta(days=1)


def rows_of(response) -> list[list[str]]:
    """A CSV download, row by row."""
    text = b"".join(response.streaming_content).decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text)))


def link(response, key: str) -> str:
    """Where the link with that id leads."""
    found = re.search(rf'<a href="([^"]+)" id="{key}"', response.content.decode())
    assert found, f"no link {key}"
    return html.unescape(found[1])


class World:
    """Onboardings that stand where they are told to."""

    def __init__(self, account, owner, now) -> None:
        self.account, self.owner, self.now, self.number = account, owner, now, 0

    def onboarding(self, at: str, since: timedelta, *, state="ready", status="your_turn", owner=None) -> Step:
        self.number += 1
        owner = owner or self.owner
        instance = Instance.objects.create(
            account=self.account,
            name=f"Instance {self.number:03}",
            status=status,
            status_detail="A step",
            waiting_on="Analyst",
            status_since=self.now - since,
            owner=owner,
        )
        run = Run.objects.create(
            account=self.account,
            instance=instance,
            owner=owner,
            started_at=self.now - since,
            at=at,
            at_since=self.now - since,
        )
        return Step.objects.create(run=run, key=at, position=3, state=state, since=self.now - since)

    def failure(self, step: Step, code: str, ago: timedelta) -> None:
        StepFailure.objects.create(
            step=step, account=self.account, at=self.now - ago, kind="fix", code=code, what=f"{code} happened"
        )

    def result(self, instance: Instance, left: timedelta, workflow: str = "reach") -> QueryResult:
        ends = self.now + left
        return QueryResult.objects.create(
            instance=instance,
            execution_id=f"e{QueryResult.objects.count():04}",
            workflow_id=workflow,
            created_at=ends - 90 * DAY,
            ends_at=ends,
        )

    def request(self, step: Step, ago: timedelta, *, by=None, days: float = 14) -> Request:
        return Request.objects.create(
            account=self.account,
            step=step,
            title="Create it",
            plan=[],
            digest="0" * 64,
            asked_by=by or self.owner,
            asked_at=self.now - ago,
            expires_at=self.now + timedelta(days=days),
        )


@pytest.fixture
def now():
    # Noon: an hour more or less stays on the same day.
    return timezone.now().replace(hour=12, minute=0, second=0, microsecond=0)


@pytest.fixture
def world(account, analyst, now) -> World:
    return World(account, analyst, now)


@pytest.fixture
def whole(account) -> Scope:
    return Scope((account.pk,))


def test_the_funnel_counts_each_onboarding_once_with_median_and_worst(world, whole, now, analyst, other_account):
    for hours in (1, 5, 2, 30):
        world.onboarding("create-instance", timedelta(hours=hours))
    for hours in (4, 9, 8):
        world.onboarding("join", timedelta(hours=hours))
    ended = world.onboarding("join", timedelta(hours=900)).run
    Run.objects.filter(pk=ended.pk).update(ended_at=now)
    World(other_account, analyst, now).onboarding("join", timedelta(days=400))
    found = {line.key: line for line in selector.funnel(whole, now=now)}
    assert list(found)[:3] == ["requirements", "amc-access", "create-instance"]
    assert (found["create-instance"].count, found["join"].count, found["requirements"].count) == (4, 3, 0)
    assert found["create-instance"].median == timedelta(hours=3.5)
    assert found["create-instance"].worst == timedelta(hours=30)
    assert (found["join"].median, found["join"].worst) == (timedelta(hours=8), timedelta(hours=9))
    assert found["requirements"].median is found["requirements"].worst is None


def test_failures_by_cause_and_day(world, whole, now):
    step = world.onboarding("join", DAY)
    for code, days in (("Different", 0), ("Different", 0), ("Different", 3), ("400", 6), ("400", 7), ("Old", 20)):
        world.failure(step, code, days * DAY)
    found = selector.failures(whole, now=now)
    assert [(cause.code, cause.count) for cause in found.causes] == [("Different", 3), ("400", 1)]
    assert found.by_day == [1, 0, 0, 1, 0, 0, 2]
    assert found.days[-1] == now.date() and found.causes[0].last == now
    assert found.count == 4


def test_requests_by_age(world, whole, now, analyst, approver, account):
    for hours, days in ((1, 14), (30, 2), (31, 14), (100, 14), (400, 1)):
        world.request(world.onboarding("join", DAY, state="awaiting_approval"), timedelta(hours=hours), days=days)
    mine = world.request(world.onboarding("join", DAY), timedelta(hours=500), by=approver)
    decided = world.request(world.onboarding("join", DAY), timedelta(hours=3))
    decided.decisions.create(person=approver, approved=True, digest="0" * 64, at=now)
    ended = world.request(world.onboarding("join", DAY), timedelta(hours=3))
    Request.objects.filter(pk=ended.pk).update(state=RequestState.APPROVED)
    found = selector.waiting(whole, approver, approving=[account.pk], now=now)
    assert (found.count, found.oldest, found.expiring) == (7, mine.asked_at, 2)
    assert found.mine == 5 and found.mine_oldest == now - timedelta(hours=400)
    assert found.ages == {"0-1": 1, "1-2": 2, "2-7": 1, "7-": 1}
    own = selector.waiting(Scope((account.pk,), approver), approver, approving=[], now=now)
    assert (own.count, own.mine) == (1, 0)


def test_connections_that_are_broken_or_about_to_be(world, whole, now, account, other_account):
    account.connection.state = "broken"
    account.connection.state_since = now - DAY
    account.connection.save()
    broken = AwsConnection.objects.create(account=account, aws_account_id="111122223333", state="broken")
    fine = AwsConnection.objects.create(account=account, aws_account_id="111122224444", state="working")
    AwsConnection.objects.create(account=other_account, aws_account_id="111122225555", state="broken")
    step = world.onboarding("join", DAY)
    for index, days in enumerate((1, 9)):
        PartnerInvitation.objects.create(
            connection=fine,
            instance=step.run.instance,
            partner_name=f"Partner {index}",
            token_hash=str(index),
            made_at=now,
            expires_at=now + days * DAY,
        )
    found = selector.weak_connections(whole, now=now)
    assert [(one.kind, one.pk) for one in found] == [
        ("amc", account.connection_id),
        ("aws", broken.pk),
        ("link", fine.pk),
    ]
    assert found[2].label == "Partner 0" and found[2].account_id == account.pk


def test_refreshes_that_are_due_and_match_rates_by_week(world, whole, now, as_, admin):
    instance = world.onboarding("join", DAY).run.instance
    tables = [
        MappingTable.objects.create(
            instance=instance, table_id=f"t{days}", name=f"Table {days}", seen_at=now, refreshed_at=now - days * DAY
        )
        for days in (20, 12, 3)
    ]
    gone = {"refreshed_at": now - 30 * DAY, "deleted_at": now}
    MappingTable.objects.create(instance=instance, table_id="gone", name="Gone", seen_at=now, **gone)
    assert [table.name for table in selector.refreshes(whole, now=now)] == ["Table 20", "Table 12"]
    for number, (weeks, matched) in enumerate(((1, 40), (1, 60), (1, 80), (3, 10), (30, 90))):
        MappingJob.objects.create(
            table=tables[0],
            kind="refresh",
            job_id=f"j{number}",
            status="SUCCEEDED",
            asked_at=now - weeks * 7 * DAY,
            ended_at=now - weeks * 7 * DAY,
            metrics={"inputRecords": 100, "totalMappedSourceRecords": matched},
            seen_at=now,
        )
    MappingJob.objects.create(
        table=tables[0], kind="refresh", job_id="bad", status="FAILED", asked_at=now, ended_at=now, seen_at=now
    )
    weeks = selector.match_rates(whole, now=now)
    assert len(weeks) == 12
    assert (weeks[-2].jobs, weeks[-2].median, weeks[-2].worst) == (3, 60, 40)
    assert (weeks[-4].jobs, weeks[-4].median) == (1, 10)
    assert sum(week.jobs for week in weeks) == 4 and weeks[-1].median is None
    page = text_of(as_(admin).get("/dashboard/"))
    assert "Table 20 of Instance 001" in page and "Match rate over time" in page and "Table 3 of" not in page
    rates = rows_of(as_(admin).get("/dashboard/?format=csv&table=rates"))
    assert rates[-2][1:] == ["3", "60.0", "40.0"] and rates[-1][1:] == ["0", "", ""]


def fill(world: World, number: int) -> None:
    """`number` onboardings of every sort, half of them with a request, a failure and query results that end soon."""
    keys = ["requirements", "create-instance", "join", "aws-access"]
    states = list(InstanceStatus.values)
    for index in range(number):
        step = world.onboarding(
            keys[index % 4], timedelta(hours=index), status=states[index % len(states)], state=StepState.FAILED
        )
        if index % 2:
            world.request(step, timedelta(hours=index))
            world.failure(step, f"Code{index % 12}", timedelta(hours=index % 100))
            world.result(step.run.instance, timedelta(hours=12 + index))
        if index % 10 == 0:
            AwsConnection.objects.create(account=world.account, aws_account_id=f"{world.number:012}", state="broken")


def queries(client, url: str, **headers) -> int:
    with CaptureQueriesContext(connection) as seen:
        assert client.get(url, headers=headers).status_code == 200
    return len(seen)


def test_few_queries_however_much_there_is(world, as_, account, other_account, admin, approver, analyst):
    for somebody in (admin, approver, analyst):
        Role.objects.create(person=somebody, account=other_account, name="approver")
    superuser = person(account, "Root", "admin")
    superuser.is_superuser = True
    superuser.save()
    urls = ("/dashboard/", "/", "/runs/", "/instances/", "/requests/?show=all", "/dashboard/results/")
    found = {}
    for size in (3, 57):
        fill(world, size)
        for who in (superuser, admin, approver, analyst):
            client = as_(who)
            for url in urls:
                found.setdefault((url, who.name), []).append(queries(client, url))
            found.setdefault(("part", who.name), []).append(queries(client, "/dashboard/", **HTMX))
    for place, (small, large) in found.items():
        assert small == large <= 12, (place, small, large)


def test_each_number_leads_to_the_list_behind_it(world, as_, admin, approver, analyst, now):
    world.now = timezone.now()
    fill(world, 60)
    page = as_(admin).get("/dashboard/")
    text = text_of(page)
    ada = as_(admin)
    assert "60 instances" in text and "60 onboardings under way" in text
    assert "60 instances" in text_of(ada.get(link(page, "d-all")))
    assert "15 runs" in text_of(ada.get(link(page, "d-at-join")))
    # 60 instances over 12 statuses: 5 of each; five statuses need a person.
    assert "25 instances" in text_of(ada.get(link(page, "d-stuck-all")))
    assert "All 25 that wait for a person" in text
    tiles = dict(re.findall(r'<a href="([^"]+)"><span class="tile-number">(\d+)', page.content.decode()))
    assert len(tiles) == len(InstanceStatus.values)
    for url, number in tiles.items():
        assert f"1 to 5 of {number}" in text_of(ada.get(html.unescape(url))) or f"{number} instances" in text_of(
            ada.get(html.unescape(url))
        )
    assert "30 requests" in text_of(ada.get(link(page, "d-open")))
    causes = re.findall(r'<a href="([^"]+)" id="d-cause-\d">(\d+)', page.content.decode())
    assert sum(int(number) for _, number in causes) == 30
    for url, number in causes:
        # Each run failed once, so that there are as many runs as failures.
        assert f"{number} runs" in text_of(ada.get(html.unescape(url)))
    paul = as_(approver)
    inbox = paul.get("/dashboard/")
    ages = re.findall(r'<a href="([^"]+)" id="d-age-\d"[^>]*>(\d+)', inbox.content.decode())
    assert [int(number) for _, number in ages] == [12, 12, 6]
    for url, number in ages:
        assert f"{number} requests" in text_of(paul.get(html.unescape(url)))


def test_analysts_see_their_own(world, as_, account, analyst, now):
    other = person(account, "Mo", "analyst")
    world.onboarding("join", DAY)
    world.onboarding("join", DAY, owner=other)
    page = as_(analyst).get("/dashboard/")
    assert "What you own on Acme." in text_of(page) and "1 instance ," in text_of(page)
    assert f"owner={analyst.pk}" in link(page, "d-at-join")
    assert "1 run" in text_of(as_(analyst).get(link(page, "d-at-join")))
    assert "Instance 002" not in text_of(page)


def test_who_has_nothing_to_do_with_it_sees_nothing(world, as_, outsider):
    world.onboarding("join", DAY)
    page = as_(outsider).get("/dashboard/")
    assert "0 instances" in text_of(page) and "Instance 001" not in text_of(page)
    assert rows_of(as_(outsider).get("/runs/?format=csv&show=all"))[1:] == []
    assert rows_of(as_(outsider).get("/dashboard/?format=csv&table=stuck"))[1:] == []


def test_the_part_asks_again_later_and_later_and_soon_after_a_change(world, as_, admin):
    client = as_(admin)
    world.onboarding("join", DAY)
    url, delays = "/dashboard/", []
    for _ in range(6):
        part = client.get(url, headers=HTMX).content.decode()
        assert "<html" not in part
        delays.append(re.search(r'data-poll="([\d.]+)"', part)[1])
        url = html.unescape(re.search(r'hx-get="([^"]+)"', part)[1])
    assert delays == ["10", "15", "30", "60", "60", "60"]
    world.onboarding("join", DAY)
    assert 'data-poll="10"' in client.get(url, headers=HTMX).content.decode()


def test_every_table_as_a_file_without_formulas(world, as_, admin, account):
    step = world.onboarding("join", DAY, status="problem")
    Instance.objects.filter(pk=step.run.instance_id).update(name='=HYPERLINK("http://x","y")', waiting_on="+1")
    world.failure(step, "@SUM(A1)", DAY)
    world.request(step, DAY)
    client = as_(admin)
    stuck = rows_of(client.get("/dashboard/?format=csv&table=stuck"))
    assert stuck[0][0] == "Instance" and stuck[1][0] == '\'=HYPERLINK("http://x","y")'
    assert stuck[1][4] == "'+1"
    assert rows_of(client.get("/dashboard/?format=csv&table=failures"))[1][:2] == ["'@SUM(A1)", "1"]
    funnel = rows_of(client.get("/dashboard/?format=csv&table=funnel"))
    assert [row[1] for row in funnel[1:] if row[1] != "0"] == ["1"]
    assert rows_of(client.get("/dashboard/?format=csv&table=states"))[1:] == [["There is a problem", "1"]]
    assert len(rows_of(client.get("/dashboard/?format=csv&table=due"))) == 1
    assert client.get("/dashboard/?format=csv&table=other").status_code == 404
    for url, number in (("/instances/", 12), ("/runs/", 11), ("/requests/?show=all", 10)):
        found = rows_of(client.get(f"{url}{'&' if '?' in url else '?'}format=csv"))
        assert len(found) == 2 and len(found[0]) == len(found[1]) == number
        assert "'=HYPERLINK" in "".join(found[1])


def test_files_hold_all_that_fits_not_one_page(world, as_, admin):
    world.now = timezone.now()
    fill(world, 120)
    client = as_(admin)
    assert len(rows_of(client.get("/instances/?format=csv"))) == 121
    assert len(rows_of(client.get("/runs/?format=csv&at=join"))) == 31
    old = [hours for hours in range(120) if hours % 2 and hours >= 48]
    assert len(rows_of(client.get("/requests/?format=csv&show=all&age=2-7"))) == len(old) + 1
    answer = client.get("/runs/?format=csv")
    assert answer.streaming and 'attachment; filename="runs-' in answer["Content-Disposition"]


def test_the_place_of_a_run_is_kept_by_its_moves(pages):
    run = Run.objects.get(instance=pages.pk)
    assert run.at == "requirements" and run.at_since == run.started_at
    pages.confirm()
    run.refresh_from_db()
    first = Step.objects.get(run=run, key="requirements")
    assert run.at == "amc-access" and run.at_since == first.finished_at
    runs.run_cancel(person=run.owner, run=run, now=timezone.now())
    run.refresh_from_db()
    assert (run.at, run.at_since) == ("", None)


def test_saved_views(world, as_, analyst, admin):
    world.onboarding("join", DAY)
    client = as_(analyst)
    assert "Save this view" not in text_of(client.get("/runs/"))
    assert "Save this view" in text_of(client.get("/runs/?at=join&page=2"))
    wanted = {"page": "runs", "query": "at=join&page=2&format=csv", "name": "Joining"}
    answer = client.post("/views/save", wanted, follow=True)
    assert answer.redirect_chain == [("/runs/?at=join", 302)]
    assert "Joining" in text_of(answer) and 'aria-current="true"' in answer.content.decode()
    client.post("/views/save", {**wanted, "name": "JOINING", "query": "at=join&sort=name"})
    view = analyst.views.get()
    assert (view.name, view.query) == ("JOINING", "at=join&sort=name")
    assert "JOINING" not in text_of(as_(admin).get("/runs/"))
    assert as_(admin).post(f"/views/{view.pk}/remove").status_code == 404
    for bad in ({"page": "people"}, {"name": ""}, {"name": "x" * 61}):
        client.post("/views/save", {**wanted, **bad})
    assert analyst.views.count() == 1
    assert client.post(f"/views/{view.pk}/remove").status_code == 302
    assert analyst.views.count() == 0


def test_admins_find_it_at_home(world, as_, admin, analyst):
    assert 'hx-get="/dashboard/"' in as_(admin).get("/").content.decode()
    assert 'hx-get="/dashboard/"' not in as_(analyst).get("/").content.decode()
