"""The pages of the identity steps: what they propose, what they show, how they refuse, and that they are accessible."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.staticfiles import finders
from django.db import connection
from django.test.utils import CaptureQueriesContext

from onboarding.engine.situations import situation_of
from onboarding.guide.schema_mapping import SchemaMapping
from scripts.stack import ROOT
from tests.join.conftest import PRIMARY, aws
from tests.pages.conftest import text_of
from tests.simulated import browser as signed_in

pytestmark = pytest.mark.django_db
SCREENSHOTS = ROOT / "build" / "screenshots"


@pytest.fixture
def client(naming):
    return signed_in(naming.analyst)


def url(naming, key: str, rest: str = "") -> str:
    return f"/instances/{naming.run.instance_id}/steps/{key}/{rest}"


def fields_of(page: str) -> dict[str, str]:
    """What a browser would send of the page's form as it stands."""
    found: dict[str, str] = {}
    form = page[page.index('<form method="post" novalidate') :]
    for tag in re.findall(r"<input[^>]*>", form):
        attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        if attributes.get("type") in ("checkbox", "radio") and "checked" not in tag:
            continue
        if attributes.get("name"):
            found[attributes["name"]] = attributes.get("value", "on")
    for name, options in re.findall(r'<select[^>]*name="([^"]*)"[^>]*>(.*?)</select>', form, re.DOTALL):
        found[name] = re.search(r"<option selected>([^<]*)", options)[1]
    for name, text in re.findall(r'<textarea[^>]*name="([^"]*)"[^>]*>\s*(.*?)</textarea>', form, re.DOTALL):
        found[name] = text
    return found


def through(client, naming, key: str) -> str:
    """Send every question of a step as it is proposed, and return the address of its review."""
    naming.ready(key)
    answer = client.get(url(naming, key))
    while "/q/" in answer.url:
        asked = answer.url
        answer = client.post(asked, fields_of(client.get(asked).content.decode()))
        assert answer.status_code == 302, text_of(answer)
    return answer.url


def test_nothing_has_to_be_typed(client, naming):
    for key in ("source-role", "catalogue", "schema-mapping"):
        review = through(client, naming, key)
        assert review.endswith("/review/")
        page = text_of(client.get(review))
        assert "Ask for approval" in page
        naming.submit(key)
        assert naming.work(key).state == "done", naming.step(key).failure


def test_the_payload_is_beside_the_form(client, naming):
    naming.ready("schema-mapping")
    page = client.get(url(naming, "schema-mapping", "q/table-1/"))
    text = text_of(page)
    assert "create-schema-mapping.json" in text
    shown = re.search(r"<code>(\{.*?\})</code>", page.content.decode(), re.DOTALL)[1].replace("&quot;", '"')
    payload = json.loads(shown)
    plan = SchemaMapping().full_plan(situation_of(naming.run))[0].params
    assert payload == {name: plan[name] for name in ("schemaName", "mappedInputFields")}
    assert payload["mappedInputFields"][0] == {"fieldName": "customer_id", "type": "UNIQUE_ID"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "a b"}, "letters, digits, dashes and underscores only"),
        ({"columns-0-type": "STRING"}, "Exactly one column must have the type UNIQUE_ID"),
        ({"columns-1-type": "UNIQUE_ID"}, "not 2: customer_id, firstname"),
        ({"columns-3-match_key": "Phone"}, "the match key Email belongs to columns of type EMAIL_ADDRESS"),
        ({"columns-3-match_key": "E/mail"}, "a match key has letters, digits, blanks"),
        ({"columns-3-group": "a/b"}, "a group has letters, digits, blanks"),
        ({"columns-3-type": "EMAIL"}, "EMAIL is no type of Entity Resolution"),
        ({"columns-3-match_key": "MAID"}, "ids with the match key MAID are never hashed"),
        ({"columns-count": "2"}, "The columns of the table have changed"),
    ],
)
def test_wrong_fields_are_said_and_stay(client, naming, change, words):
    naming.ready("schema-mapping")
    asked = url(naming, "schema-mapping", "q/table-1/")
    sent = fields_of(client.get(asked).content.decode()) | change
    answer = client.post(asked, sent)
    assert answer.status_code == 422
    if change == {"columns-3-match_key": "Phone"}:
        words = "the match key Phone belongs to columns of type"
    assert words in text_of(answer), text_of(answer)
    body = answer.content.decode()
    assert 'href="#id_' in body
    for name, value in change.items():
        if "match_key" in name:
            assert f'value="{value}"' in body
    assert "table-1" not in naming.step("schema-mapping").answers


def test_every_field_can_be_changed(client, naming):
    naming.ready("schema-mapping")
    asked = url(naming, "schema-mapping", "q/table-1/")
    sent = fields_of(client.get(asked).content.decode())
    names = [sent[f"columns-{number}-column"] for number in range(int(sent["columns-count"]))]
    second, consent = names.index("email_2"), names.index("tcf")
    sent |= {f"columns-{second}-match_key": "Email2", f"columns-{second}-group": "work"}
    del sent[f"columns-{second}-hashed"]
    del sent[f"columns-{consent}-use"]
    assert client.post(asked, sent).status_code == 302
    (call,) = SchemaMapping().full_plan(situation_of(naming.step("schema-mapping").run))
    fields = {one["fieldName"]: one for one in call.params["mappedInputFields"]}
    assert fields["email_2"] == {
        "fieldName": "email_2",
        "type": "EMAIL_ADDRESS",
        "groupName": "work",
        "matchKey": "Email2",
        "hashed": False,
    }
    assert "tcf" not in fields


def test_the_limit_of_columns_and_tables(naming):
    columns = naming.output["tables"][0]["columns"]
    more = [{"name": f"email_{n}", "kind": "email", "hashed": True} for n in range(3, 30)]
    tables = [{**naming.output["tables"][0], "name": f"identity_{n}", "columns": columns} for n in range(1, 21)]
    tables[19]["columns"] = [*columns, *more]
    naming.keep({**naming.output, "tables": tables})
    situation = situation_of(naming.run)
    asked = SchemaMapping().asked(situation)
    assert len(asked) == 20
    assert asked[0]({}, situation=situation).is_valid()
    last = asked[19]({"columns": SchemaMapping().asked(situation)[19](situation=situation).fields["columns"].initial},
                     situation=situation)  # fmt: skip
    assert not last.is_valid()
    assert "takes 25 columns" in str(last.errors) and f"Leave out {len(columns) + 27 - 25}" in str(last.errors)


def test_no_query_for_each_table(client, naming):
    def count() -> int:
        naming.ready("schema-mapping")
        with CaptureQueriesContext(
            connection,
        ) as seen:
            assert client.get(url(naming, "schema-mapping", "q/table-1/")).status_code == 200
        return len(seen)

    one = count()
    table = naming.output["tables"][0]
    naming.keep({**naming.output, "tables": [{**table, "name": f"identity_{n}"} for n in range(1, 21)]})
    assert count() == one


def glue_without_a_column(amazon) -> None:
    glue = aws(amazon.url, PRIMARY, "glue")
    table = glue.get_table(DatabaseName="amc_crm", Name="crm_v1_identity")["Table"]
    storage = table["StorageDescriptor"]
    columns = [{"Name": one["Name"].replace("email", "Email"), "Type": "string"} for one in storage["Columns"][:-1]]
    storage = {**storage, "Columns": columns}
    glue.update_table(
        DatabaseName="amc_crm",
        TableInput={"Name": "crm_v1_identity", "TableType": "EXTERNAL_TABLE", "StorageDescriptor": storage,
                    "Parameters": table["Parameters"]},
    )  # fmt: skip


class Served:
    """Pages that the test client fetched, shown in a browser; styles come from where they lie."""

    def __init__(self, client) -> None:
        self.client = client
        self.pages: dict[str, str] = {}

    def fetch(self, name: str, path: str) -> None:
        answer = self.client.get(path)
        assert answer.status_code == 200, path
        self.pages[f"/{name}"] = answer.content.decode()

    def answer(self, route) -> None:
        path = urlsplit(route.request.url).path
        if path in self.pages:
            route.fulfill(body=self.pages[path], content_type="text/html; charset=utf-8")
            return
        found = finders.find(path.removeprefix("/static/")) if path.startswith("/static/") else None
        if found:
            route.fulfill(path=found)
        else:
            route.fulfill(status=404, body="")


def test_axe_finds_nothing(client, naming, amazon, browser):
    served = Served(client)
    for key, slug in (("source-role", "role"), ("catalogue", "how")):
        naming.ready(key)
        served.fetch(f"{key}-{slug}", url(naming, key, f"q/{slug}/"))
        assert naming.do(key).state == "done", naming.step(key).failure
    served.fetch("catalogue-done", url(naming, "catalogue", "progress/"))
    naming.ready("schema-mapping")
    served.fetch("schema-mapping-table", url(naming, "schema-mapping", "q/table-1/"))
    naming.ready("id-namespace")
    served.fetch("id-namespace-names", url(naming, "id-namespace", "q/namespace/"))
    glue_without_a_column(amazon)
    naming.step("catalogue").calls.all().delete()
    naming.ready("catalogue")
    naming.answer("catalogue", "how", how="existing")
    naming.submit("catalogue")
    assert naming.work("catalogue").failure["code"] == "Different"
    served.fetch("catalogue-different", url(naming, "catalogue", "progress/"))
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    problems = []
    for width, scheme in ((1280, "light"), (390, "dark")):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.route("**/*", served.answer)
        for name in served.pages:
            page.goto(f"http://portal.test{name}")
            page.evaluate("for (const more of document.querySelectorAll('main details')) more.open = true")
            found = Axe().run(page)
            if found.response["violations"]:
                problems.append(f"{name}, {width}: {found.generate_report()}")
            sideways = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            if sideways > 0:
                problems.append(f"{name}, {width}: {sideways} px too wide")
            shot = SCREENSHOTS / f"identity{name.replace('/', '-')}-{width}-{scheme}.png"
            page.screenshot(path=Path(shot), full_page=True)
        page.close()
    assert problems == []
