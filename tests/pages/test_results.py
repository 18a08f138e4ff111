"""Query results that end soon: who sees which, on the dashboard, in the list behind it, and of one instance."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from onboarding.models import Instance, Person, ResultsReading, Role
from onboarding.selectors import dashboard
from onboarding.selectors import results as selector
from onboarding.selectors.scope import Scope
from tests.engine.conftest import person
from tests.pages.conftest import text_of
from tests.pages.test_dashboard import DAY, World, link, queries, rows_of

HTMX = {"HX-Request": "true"}
URL = "/dashboard/results/"


@pytest.fixture
def now():
    return timezone.now()


@pytest.fixture
def world(account, analyst, now) -> World:
    return World(account, analyst, now)


def instance(world: World, owner: Person | None = None) -> Instance:
    made = world.onboarding("join", DAY, owner=owner).run.instance
    Instance.objects.filter(pk=made.pk).update(instance_id=f"amc{world.number:03}")
    made.refresh_from_db()
    return made


@pytest.fixture
def mine(world) -> Instance:
    """The analyst's instance, with results that end in 1, 2, 5 and 12 days, and such as have ended."""
    made = instance(world)
    for days, workflow in ((-1, "over"), (1, "reach"), (2, "paths"), (5, "reach"), (12, "overlap")):
        world.result(made, days * DAY, workflow)
    return made


@pytest.fixture
def others(world, account, other_account, now) -> tuple[Instance, Instance]:
    """One of somebody else on the same account, and one of another account; each with one that ends within hours."""
    colleague = instance(world, person(account, "Mo", "analyst"))
    foreign = World(other_account, world.owner, now)
    rival = instance(foreign)
    Instance.objects.filter(pk=rival.pk).update(name="Rival instance", owner=None)
    world.result(colleague, timedelta(hours=4, minutes=30))
    world.result(rival, timedelta(hours=4), "secret")
    return colleague, rival


def found(scope: Scope, now, **kwargs) -> list[tuple[int, int, int]]:
    return [(one.pk, one.count, one.every) for one in dashboard.ending(scope, now=now, **kwargs)]


def test_what_is_counted_of_whom(mine, others, account, other_account, analyst, now, django_assert_num_queries):
    colleague, rival = others
    with django_assert_num_queries(1):
        assert found(Scope((account.pk,)), now) == [(colleague.pk, 1, 3), (mine.pk, 2, 3)]
    assert found(Scope((account.pk,), analyst), now) == [(mine.pk, 2, 2)]
    assert found(Scope((other_account.pk,)), now) == [(rival.pk, 1, 1)]
    assert found(Scope(()), now) == []
    # Only so many lines, and still the whole number.
    assert found(Scope((account.pk,)), now, most=1) == [(colleague.pk, 1, 3)]
    first = dashboard.ending(Scope((account.pk,)), now=now)[1]
    assert (first.name, first.first) == (mine.name, now + DAY)
    # Three days at most; later it is more, and then less.
    assert found(Scope((account.pk,), analyst), now + 2 * DAY + timedelta(hours=1)) == [(mine.pk, 1, 1)]
    Instance.objects.filter(pk=mine.pk).update(gone_at=now)
    assert found(Scope((account.pk,), analyst), now) == []


def test_admins_see_the_account_and_each_line_leads_to_its_list(mine, others, as_, admin):
    client = as_(admin)
    page = client.get("/dashboard/")
    text = text_of(page)
    assert "Query results that end within 3 days the first in 4 h" in text, text
    assert "Query results of Instance 001 2 can no longer be fetched, the first in" in text
    assert "Query results of Instance 002 Can no longer be fetched in" in text
    assert "Rival" not in text
    assert "3 results" in text_of(client.get(link(page, "d-ending")))
    lines = text_of(client.get(link(page, "d-due-1"))), text_of(client.get(link(page, "d-due-2")))
    assert "Only Instance 002" in lines[0] and "1 result " in lines[0]
    assert "Only Instance 001" in lines[1] and "2 results" in lines[1]
    due = rows_of(client.get("/dashboard/?format=csv&table=due"))
    assert [row[0] for row in due[1:]] == [f"Query results of Instance {n}" for n in ("002", "001")]


def test_analysts_see_their_own_on_the_dashboard(mine, others, as_, analyst):
    client = as_(analyst)
    page = client.get("/dashboard/")
    assert "Query results of Instance 001" in text_of(page) and "Instance 002" not in text_of(page)
    assert f"owner={analyst.pk}" in link(page, "d-ending")
    assert "2 results" in text_of(client.get(link(page, "d-ending")))


def test_the_dashboard_tells_that_something_new_ends(mine, world, as_, admin):
    client = as_(admin)
    before = client.get("/dashboard/", headers=HTMX).context["state"]
    assert client.get("/dashboard/", headers=HTMX).context["state"] == before
    world.result(mine, timedelta(hours=20))
    assert client.get("/dashboard/", headers=HTMX).context["state"] != before


def test_nothing_ends_soon(world, as_, admin):
    instance(world)
    assert 'id="d-ending"' not in as_(admin).get("/dashboard/").content.decode()
    assert "Nothing ends soon" in text_of(as_(admin).get(URL))
    assert "No result fits" in text_of(as_(admin).get(f"{URL}?q=other"))


@pytest.mark.parametrize(
    ("query", "workflows"),
    [
        ("", ["reach", "paths", "reach", "overlap"]),
        ("days=3", ["reach", "paths"]),
        ("days=7", ["reach", "paths", "reach"]),
        ("days=99999", ["reach", "paths", "reach", "overlap"]),
        ("q=PATH", ["paths"]),
        ("q=amc001", ["reach", "paths", "reach", "overlap"]),
        ("q=nothing", []),
        ("sort=-ends", ["overlap", "reach", "paths", "reach"]),
        ("sort=workflow", ["overlap", "paths", "reach", "reach"]),
        ("sort=colour", ["reach", "paths", "reach", "overlap"]),
        ("owner=0", []),
        ("instance=999999999999999999999999&owner=x", []),
    ],
)
def test_the_list_is_filtered_and_ordered_on_the_page_and_as_a_file(mine, as_, analyst, query, workflows):
    client = as_(analyst)
    page = client.get(f"{URL}?{query}")
    assert [row.workflow_id for row, _ in page.context["lines"]] == workflows
    part = client.get(f"{URL}?{query}", headers=HTMX)
    assert "<html" not in part.content.decode() and len(part.context["lines"]) == len(workflows)
    rows = rows_of(client.get(f"{URL}?{query}&format=csv"))
    assert [row[3] for row in rows[1:]] == workflows
    assert rows[0][6] == "Can be fetched until" and all(len(row) == len(rows[0]) for row in rows)


def test_nobody_sees_what_is_of_another_account(mine, others, account, as_, analyst, approver, outsider, nobody):
    _, rival = others
    for who in (analyst, approver):
        client = as_(who)
        for query in ("", f"instance={rival.pk}", f"account={rival.account_id}", "q=secret"):
            text = text_of(client.get(f"{URL}?{query}"))
            assert "Rival" not in text.replace(rival.account.name, "") and "secret" not in text.split("Clear")[-1]
            rows = rows_of(client.get(f"{URL}?{query}&format=csv"))
            assert all(row[2] == account.name for row in rows[1:])
        assert len(rows_of(client.get(f"{URL}?format=csv"))) == 1 + 5
    theirs = rows_of(as_(outsider).get(f"{URL}?format=csv"))
    assert [row[3] for row in theirs[1:]] == ["secret"]
    assert as_(nobody).get(URL).status_code == 302
    # Whoever gets a role there sees it from then on.
    Role.objects.create(person=approver, account=rival.account, name="approver")
    assert "secret" in text_of(as_(approver).get(f"{URL}?instance={rival.pk}"))


def test_a_view_of_the_list_can_be_kept(mine, as_, analyst):
    client = as_(analyst)
    kept = client.post("/views/save", {"page": "results", "query": "days=3", "name": "Soon"}, follow=True)
    assert kept.redirect_chain == [(f"{URL}?days=3", 302)] and "Soon" in text_of(kept)


def test_of_one_instance_the_page_to_keep_says_what_ends_next(mine, world, as_, analyst, now):
    client, url = as_(analyst), f"/instances/{mine.pk}/ready/"
    assert selector.next_end(mine, now=now) == selector.NextEnd()
    assert "Results of a query can be fetched for 90 days" in text_of(client.get(url))
    before = queries(client, url)
    ResultsReading.objects.create(instance=mine, next_at=now, read_at=now, unread="You may not.")
    found = selector.next_end(mine, now=now)
    assert (found.read_at, found.unread, found.ends_at) == (now, "You may not.", now + DAY)
    page = client.get(url)
    assert f"can be fetched until {now + DAY:%-d %b %Y}" in text_of(page)
    assert "could not be listed" in text_of(page) and "You may not." in text_of(page)
    assert "4 results" in text_of(client.get(link(page, "results-end")))
    assert queries(client, url) == before
    assert client.get(f"/instances/{mine.pk}/ready.json").json()["next_results_end_at"][:10] == f"{now + DAY:%Y-%m-%d}"
    mine.query_results.all().delete()
    assert "No results are known that can still be fetched" in text_of(client.get(url))


def test_the_queries_of_an_instance_are_listed_at_once_for_who_asks(mine, as_, analyst, approver, monkeypatch):
    put = []
    monkeypatch.setattr("onboarding.services.nightly.queue.put_job", lambda job, pk: put.append((job, pk)) or True)
    Instance.objects.filter(pk=mine.pk).update(creation_status="COMPLETED")
    url, button = f"/instances/{mine.pk}/ready/", 'id="results-now"'
    assert button not in as_(approver).get(url).text
    client = as_(analyst)
    assert button in client.get(url).text
    told = client.post(f"/instances/{mine.pk}/results/read", follow=True)
    assert told.redirect_chain == [(url, 302)] and "lists the queries now" in text_of(told)
    assert put == [("onboarding.services.results.read_instance", mine.pk)]
    ResultsReading.objects.update(read_at=timezone.now())
    again = client.post(f"/instances/{mine.pk}/results/read", follow=True)
    assert "a moment ago" in text_of(again) and len(put) == 1
