"""Lists: what they find, in which order, in how many queries, as page and as part."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext
from django.urls import URLResolver, get_resolver
from django.utils import timezone

from onboarding import audit
from onboarding.guide.procedure import PROCEDURES
from onboarding.models import (
    AuditEntry,
    Instance,
    InstanceStatus,
    Notice,
    QueryResult,
    Request,
    RequestState,
    Role,
    Run,
    Step,
    StepState,
)
from tests.engine.conftest import person
from tests.pages.conftest import text_of

HTMX = {"HX-Request": "true"}


def instances(account, number: int, owner=None, start: int = 0) -> None:
    now = timezone.now()
    statuses = list(InstanceStatus.values)
    Instance.objects.bulk_create(
        Instance(
            account=account,
            name=f"Instance {index:05}",
            instance_id=f"amc{index:06}",
            kind=list(Instance.Kind.values)[index % 3],
            status=statuses[index % len(statuses)],
            status_detail="Create the instance",
            waiting_on="Amazon",
            status_since=now - timedelta(minutes=index),
            steps_done=index % 5,
            steps_all=4,
            owner=owner if index % 2 else None,
        )
        for index in range(start, start + number)
    )


def queries(client, url: str, **headers) -> int:
    with CaptureQueriesContext(
        connection,
    ) as seen:
        assert client.get(url, headers=headers).status_code == 200
    return len(seen)


def test_the_list_takes_as_many_queries_for_fifty_as_for_one(as_, account, other_account, analyst):
    Role.objects.create(person=analyst, account=other_account, name="approver")
    client = as_(analyst)
    client.get("/instances/")
    instances(account, 1, analyst)
    one = queries(client, "/instances/")
    instances(account, 199, analyst, start=1)
    many = queries(client, "/instances/")
    assert many == one <= 8
    for query in ("?page=3", "?q=00001", "?status=needs-a-person&sort=owner", f"?account={account.pk}&kind=STANDARD"):
        assert queries(client, f"/instances/{query}") <= 8, query
    assert queries(client, "/instances/?q=1", **HTMX) <= 7


def test_other_pages_take_as_many_queries_for_fifty_rows_as_for_one(as_, pages, account, analyst, approver, admin):
    request = pages.until_asked()
    urls = {
        "/": analyst,
        "/instances/": analyst,
        "/requests/?show=all": approver,
        "/audit/": admin,
        "/notices/": approver,
    }
    clients = {url: as_(who) for url, who in urls.items()}
    for url, client in clients.items():
        client.get(url)
    before = {url: queries(client, url) for url, client in clients.items()}
    now = timezone.now()
    for index in range(50):
        instance = Instance.objects.create(account=account, name=f"More {index}", status_since=now, owner=analyst)
        run = Run.objects.create(account=account, instance=instance, owner=analyst, started_at=now)
        step = Step.objects.create(run=run, key="create-instance", position=2, state=StepState.READY, since=now)
        Request.objects.create(
            account=account,
            step=step,
            title=request.title,
            plan=request.plan,
            digest=request.digest,
            asked_by=analyst,
            asked_at=now,
            expires_at=now + timedelta(days=1),
            ended_at=now,
            state=(RequestState.OPEN, RequestState.SENT_BACK, RequestState.EXPIRED)[index % 3],
        )
        Notice.objects.create(person=approver, event=f"e{index}", subject="s", text="t", made_at=now)
        audit.record("run.started", actor=analyst, subject=f"More {index}", account=account)
    after = {url: queries(client, url) for url, client in clients.items()}
    assert after == before
    assert max(after.values()) <= 13
    home = text_of(clients["/"].get("/"))
    assert "Needs a change" in home and "Expired, ask again" in home


def test_the_pages_of_an_instance_stay_within_their_queries(pages, as_, approver):
    request = pages.until_asked()
    base = f"/instances/{pages.pk}/"
    found = {
        url: queries(pages.client, url)
        for url in (
            base,
            base + "members/",
            base + "activity/",
            base + "commands/",
            pages.url("create-instance", "review/"),
            pages.url("create-instance", "q/name/"),
            pages.url("create-instance", "progress/"),
        )
    }
    found["request"] = queries(pages.approver_client, f"/requests/{request.pk}/")
    for _ in range(60):
        from onboarding.models import LogLine

        LogLine.objects.create(step=pages.step("create-instance"), at=timezone.now(), text="A line")
    assert (
        queries(pages.client, pages.url("create-instance", "progress/"))
        == found[pages.url("create-instance", "progress/")]
    )
    assert queries(pages.client, base + "activity/") == found[base + "activity/"]
    assert max(found.values()) <= 20, found
    assert queries(pages.client, base, **HTMX) <= 9
    assert queries(pages.client, pages.url("create-instance", "progress/"), **HTMX) <= 13


@pytest.fixture
def listed(as_, account, analyst):
    instances(account, 120, analyst)
    return as_(analyst)


def names(response) -> list[str]:
    return re.findall(r'<a href="/instances/\d+/">([^<]+)</a>', response.content.decode())


def test_paging_shows_every_row_once(listed):
    seen = []
    for page in (1, 2, 3):
        response = listed.get(f"/instances/?sort=status&page={page}")
        seen += names(response)
    assert len(seen) == len(set(seen)) == 120
    assert "101 to 120 of 120 instances" in text_of(listed.get("/instances/?page=3"))
    assert names(listed.get("/instances/?page=999")) == names(listed.get("/instances/?page=3"))
    assert names(listed.get("/instances/?page=nonsense")) == names(listed.get("/instances/"))


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("", "Instance 00000"),
        ("?sort=name", "Instance 00000"),
        ("?sort=-name", "Instance 00119"),
        ("?sort=since", "Instance 00119"),
        ("?sort=nonsense", "Instance 00000"),
        ("?q=instance+0007", "Instance 00070"),
        ("?q=amc000042", "Instance 00042"),
        ("?status=problem&sort=name", "Instance 00007"),
        ("?kind=SANDBOX&sort=name", "Instance 00001"),
    ],
)
def test_search_filter_and_order(listed, query, first):
    assert names(listed.get(f"/instances/{query}"))[0] == first


def test_filters_by_owner_and_account(listed, analyst, other_account):
    from onboarding.models import Role

    found = names(listed.get(f"/instances/?owner={analyst.pk}&sort=name"))
    assert found[:2] == ["Instance 00001", "Instance 00003"]
    assert "60 instances" in text_of(listed.get(f"/instances/?owner={analyst.pk}"))
    Role.objects.create(person=analyst, account=other_account, name="analyst")
    assert names(listed.get(f"/instances/?account={other_account.pk}")) == []
    Instance.objects.create(account=other_account, name="Over there", status_since=timezone.now())
    assert names(listed.get(f"/instances/?account={other_account.pk}")) == ["Over there"]


def test_numbers_beside_the_tabs_fit_the_search(listed):
    text = text_of(listed.get("/instances/?q=Instance+0000"))
    assert "All 10" in text and "Needs a person 5" in text and "Completed 1" in text


def test_the_part_is_the_page_s_part(listed):
    page, part = listed.get("/instances/?q=00042"), listed.get("/instances/?q=00042", headers=HTMX)
    assert b"<html" in page.content and b"<html" not in part.content
    assert names(page) == names(part) == ["Instance 00042"]
    for response in (page, part):
        assert "HX-Request" in response["Vary"]
    assert "1 instance found" in part.content.decode()
    boosted = listed.get("/instances/", headers={**HTMX, "HX-Boosted": "true"})
    restored = listed.get("/instances/", headers={**HTMX, "HX-History-Restore-Request": "true"})
    assert b"<html" in boosted.content and b"<html" in restored.content


def test_nothing_found_and_nothing_there(listed, as_, other_account):
    assert "No instance fits" in text_of(listed.get("/instances/?q=nothing+like+it"))
    somebody = person(other_account, "New", "approver")
    assert "No instances yet" in text_of(as_(somebody).get("/instances/"))


def test_instances_that_have_gone_from_amc_are_left_out(listed):
    Instance.objects.filter(name="Instance 00000").update(gone_at=timezone.now())
    assert "Instance 00000" not in names(listed.get("/instances/"))


def test_markup_in_names_stays_text(as_, account, analyst, approver):
    evil = "<script>alert(1)</script>"
    analyst.name = evil
    analyst.save()
    instance = Instance.objects.create(
        account=account, name=evil, advertiser_name=evil, status_detail=evil, status_since=timezone.now(), owner=analyst
    )
    account.name = evil
    account.save()
    audit.record("run.started", actor=analyst, subject=evil, account=account, details={"a": evil})
    client = as_(analyst)
    base = f"/instances/{instance.pk}/"
    for url in (
        "/",
        "/instances/",
        f"/instances/?q={evil}",
        "/requests/",
        "/instances/new/",
        base,
        base + "members/",
        base + "activity/",
    ):
        body = client.get(url).content.decode()
        assert "<script>alert" not in body, url
    root = person(account, "Root", "admin")
    assert "&lt;script&gt;alert" in as_(root).get("/audit/").content.decode()


# --- one imported instance


def imported(account, **more) -> Instance:
    values = {
        "name": "Made elsewhere",
        "instance_id": "amc9",
        "creation_status": "COMPLETED",
        "aws_account_id": "111122223333",
    }
    return Instance.objects.create(account=account, status_since=timezone.now(), **{**values, **more})


def test_an_imported_collaboration_instance_can_be_onboarded(as_, account, analyst, amazon, queued):
    instance = imported(account, kind="COLLABORATION")
    client = as_(analyst)
    page = text_of(client.get(f"/instances/{instance.pk}/"))
    assert "Onboard Made elsewhere" in page and "1111-2222-3333" in page
    client.post(f"/instances/{instance.pk}/onboard")
    run = Run.objects.get()
    assert run.instance == instance
    assert run.steps.get(key="create-instance").answers["aws-account"] == {"account_id": "111122223333"}
    assert "Check the requirements" in text_of(client.get(f"/instances/{instance.pk}/"))
    again = client.post(f"/instances/{instance.pk}/onboard", follow=True)
    assert "is under way already" in text_of(again)
    assert Run.objects.count() == 1


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        ("SANDBOX", "COMPLETED", "A sandbox holds made-up data"),
        ("STANDARD", "COMPLETED", "not backed by AWS Clean Rooms"),
        ("COLLABORATION", "IN_PROGRESS", "has not finished creating"),
    ],
)
def test_what_cannot_be_onboarded_says_why(as_, account, analyst, kind, status, words):
    instance = imported(account, kind=kind, creation_status=status)
    client = as_(analyst)
    text = text_of(client.get(f"/instances/{instance.pk}/"))
    assert words in text and "Onboard Made elsewhere" not in text
    client.post(f"/instances/{instance.pk}/onboard")
    assert not Run.objects.exists()


def test_members_before_and_after(as_, account, analyst):
    from onboarding.guide.collaboration import note_collaboration

    instance = imported(account, kind="COLLABORATION")
    client = as_(analyst)
    before = text_of(client.get(f"/instances/{instance.pk}/members/"))
    for kind in (
        "Advertiser",
        "Lookalike audience generator",
        "Third-party paid data provider",
        "AMC results receiver",
        "Query submitter",
        "AMC service",
    ):
        assert kind in before, kind
    member = {"status": "INVITED", "membershipId": ""}
    note_collaboration(
        instance,
        {
            "id": "c-1",
            "name": "AMC amc9",
            "status": "PENDING_ACCEPTANCE",
            "customerAcceptanceLink": "https://console.aws.amazon.com/cleanrooms/accept",
            "customer": {**member, "accountId": "111122223333", "displayName": "Acme"},
            "customerPartners": [{**member, "accountId": "222233334444", "displayName": "Loyalty", "status": "ACTIVE"}],
            "resultsReceivers": [{**member, "accountId": "111122223333", "displayName": "Acme"}],
            "amcDataProviders": [
                {**member, "accountId": "999900001111", "displayName": "Lookalike Audience Generator"}
            ],
        },
        timezone.now(),
    )
    page = client.get(f"/instances/{instance.pk}/members/")
    text = text_of(page)
    for words in (
        "Acme Advertiser 1111-2222-3333",
        "Loyalty Customer partner",
        "receives the results of queries.",
        "Makes lookalike audiences.",
        "Open the invitation in AWS",
        "Active",
        "Invited",
    ):
        assert words in text, words
    # The advertiser is among the receivers of results as well, and stands there once.
    assert "Acme Results receiver" not in text
    assert 'href="https://console.aws.amazon.com/cleanrooms/accept"' in page.content.decode()


# --- home, audit, notices


def test_home_shows_what_needs_me(pages, as_, approver, admin, account, nobody):
    from onboarding.models import AmcConnection, RoleRequest

    home = text_of(pages.client.get("/"))
    assert "Acme US: Check the requirements" in home and f"0 of {len(PROCEDURES['onboard'])}" in home
    request = pages.until_asked()
    home = text_of(pages.client.get("/"))
    assert "Nothing needs you now" in home and "Waiting for approval" in home
    assert f"Approve: {request.title}" in text_of(pages.approver_client.get("/"))
    RoleRequest.objects.create(person=nobody, account=account, role="analyst")
    AmcConnection.objects.update(
        state="broken", broken_reason="The permission was taken back.", state_since=timezone.now()
    )
    home = text_of(as_(admin).get("/"))
    assert "The connection “Login” has to be renewed" in home and "The permission was taken back." in home
    assert "Nora Nobody asks to be analyst" in home
    assert "Nora" not in text_of(pages.client.get("/"))


def test_home_of_somebody_new_says_what_the_portal_does(as_, analyst, approver):
    assert "one plain question at a time" in text_of(as_(analyst).get("/"))
    text = text_of(as_(approver).get("/"))
    assert "Requests that you can approve appear here" in text and "Start an onboarding" not in text


def test_the_audit_log_is_searched_and_verified(pages, as_, admin):
    pages.until_asked()
    client = as_(admin)
    page = text_of(client.get("/audit/"))
    assert "The chain is whole" in page and "Submitted" in page and "Mia Analyst" in page
    assert (
        "Submitted"
        not in text_of(client.get("/audit/?act=run.started")).partition("Who or what")[2].partition("Details")[2]
    )
    assert "No entry fits" in text_of(client.get("/audit/?q=nobody+did+this"))
    assert "Onboarding of Acme US" in text_of(client.get("/audit/?q=mia"))
    QuerySet(AuditEntry).filter(number=2).update(subject="Something else")
    assert "The chain is broken" in text_of(client.get("/audit/"))


def test_verifyaudit(pages, capsys):
    call_command("verifyaudit")
    assert "is whole (1 entries)" in capsys.readouterr().out
    pages.confirm()
    QuerySet(AuditEntry).filter(number=2).update(details={})
    with pytest.raises(SystemExit) as ended:
        call_command("verifyaudit")
    assert ended.value.code == 1
    assert "entry 2 was changed" in capsys.readouterr().err


def test_messages_are_read(pages, approver):
    pages.until_asked()
    client = pages.approver_client
    page = text_of(client.get("/notices/"))
    assert "Approval is asked for" in page and "New:" in page
    client.post("/notices/read")
    page = text_of(client.get("/notices/"))
    assert "New:" not in page and "Mark all as read" not in page


def test_activity_tells_everything_once(pages):
    request = pages.until_asked()
    pages.approve(request)
    text = text_of(pages.client.get(f"/instances/{pages.pk}/activity/"))
    for words in (
        "Mia Analyst asked for approval",
        "Paul Approver approved it",
        "Answered: What should the instance be called?",
        "Started: Onboarding of Acme US",
    ):
        assert text.count(words) == 1, words
    assert "Approved: " not in text


@pytest.mark.parametrize("url", ["/instances/", "/runs/", "/dashboard/results/", "/audit/"])
def test_an_account_is_asked_for_where_there_are_several(url, as_, admin, other_account):
    client = as_(admin)
    assert "account" not in client.get(url).context["form"].fields
    Role.objects.create(person=admin, account=other_account, name="admin")
    choices = dict(client.get(url).context["form"].fields["account"].choices)
    assert choices[""] == "All accounts" and choices[str(other_account.pk)] == other_account.name


# No number, no ASCII digits, digits that are none to int(), below and beyond what a key can be, too long for int().
ODD = ("x", "-1", "1.5", "²", "٣", "0", str(2**63 - 1), str(2**63), "9" * 25, "9" * 5000)
KEYS = {
    "instances": ("owner", "account"),
    "runs": ("owner", "account"),
    "dashboard/results": ("owner", "account", "instance"),
    "audit": ("actor", "account"),
}


@pytest.mark.parametrize("page", KEYS)
def test_what_is_no_key_of_a_row_finds_nothing_and_breaks_nothing(as_, account, other_account, analyst, admin, page):
    # Whoever sees one account alone has it in view, and nothing to choose.
    Role.objects.create(person=admin, account=other_account, name="admin")
    instances(account, 3, analyst)
    for one in Instance.objects.all():
        Run.objects.create(account=account, instance=one, owner=analyst, started_at=timezone.now(), procedure="onboard")
        QueryResult.objects.create(
            instance=one,
            execution_id=one.instance_id,
            workflow_id="w",
            created_at=timezone.now(),
            ends_at=timezone.now() + timedelta(days=5),
        )
        audit.record("run.started", actor=analyst, subject=one.name, account=account)
    client = as_(admin)
    lines = len(b"".join(client.get(f"/{page}/?format=csv")).splitlines())
    assert lines >= 3
    for name in KEYS[page]:
        for value in ODD:
            answer = client.get(f"/{page}/", {name: value})
            assert answer.status_code == 200, (name, value)
            assert client.get(f"/{page}/", {name: value}, headers=HTMX).status_code == 200, (name, value)
            file = b"".join(client.get(f"/{page}/", {name: value, "format": "csv"}))
            assert len(file.splitlines()) == 1, (name, value)
        assert len(b"".join(client.get(f"/{page}/", {name: "", "format": "csv"})).splitlines()) == lines


def test_odd_numbers_and_days_break_no_other_filter(as_, account, admin, analyst):
    instances(account, 3, analyst)
    client = as_(admin)
    for value in ODD:
        for page, name in (
            ("runs", "days"),
            ("requests", "expires"),
            ("dashboard/results", "days"),
            ("dashboard", "still"),
            *((page, "page") for page in (*KEYS, "requests", "people", "notices", "queues")),
        ):
            for how in ({}, {"format": "csv"}):
                assert b"".join(client.get(f"/{page}/", {name: value, "seen": "", **how})), (page, name, value)
        assert client.post("/account-in-view", {"account": value}).status_code == 404
    for day in ("0001-01-01", "9999-12-31"):
        for how in ({}, {"format": "csv"}, {"format": "jsonl"}):
            answer = client.get("/audit/", {"since": "0001-01-01", "until": day, **how})
            assert answer.status_code == 200 and b"".join(answer) is not None, day


def routes(resolver, before: str = ""):
    for one in resolver.url_patterns:
        address = before + str(one.pattern)
        yield from routes(one, address) if isinstance(one, URLResolver) else [address]


def test_no_number_in_an_address_breaks_a_page(as_, pages, admin):
    admin.is_superuser = True
    admin.save()
    client = as_(admin)
    other = {"int": "1", "uuid": "00000000-0000-4000-8000-000000000000", "slug": "name", "str": "name"}
    tried = 0
    for route in routes(get_resolver()):
        for number in range(route.count("<int:")):
            texts = iter(["1"] * number + ["9" * 25])
            url = "/" + re.sub(
                r"<(\w+):\w+>", lambda one, t=texts: next(t, "1") if one[1] == "int" else other[one[1]], route
            )
            for ask in (client.get, client.post):
                assert ask(url).status_code < 500, url
                tried += 1
    assert tried > 150
