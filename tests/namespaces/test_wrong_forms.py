"""Wrong answers to the steps from prepared files to the mapping table: said at the field, kept, and nothing is lost."""

import html
import re

import pytest
from django.utils import timezone

from onboarding.models import CallRecord, Step
from tests.join.conftest import PRIMARY
from tests.namespaces.test_pages import client, fields_of, url
from tests.pages.conftest import text_of

pytestmark = pytest.mark.django_db
__all__ = ["client"]
ARN = f"arn:aws:entityresolution:us-east-1:{PRIMARY}:idnamespace/"
# What AMC said of the instance: two ID namespaces are free, one mapping table is there.
SEEN = {
    "namespaces": {
        "collaborationIdNamespaceAssociations": [
            {"idNamespaceArn": f"{ARN}{name}", "name": name} for name in ("crm", "shop")
        ]
    },
    "tables": {"idMappingTables": [{"id": "t1", "name": "customers", "queryable": True}]},
}
# Step, question: what is typed wrongly into which field, and what is said there.
WRONG = [
    (
        "source-role",
        "tables",
        [
            ("database", "Amc Data", "lower case letters, digits and underscores only"),
            ("database", "d" * 129, "at most 128 characters"),
            ("tables", "crm-identity", "This has others: crm-identity"),
            ("tables", "one\ntwo", "There is 1 prepared table; give 1 name, not 2"),
        ],
    ),
    (
        "source-role",
        "role",
        [
            ("name", "amc-cleanrooms-reader of files", "letters, digits and + = , . @ - _ only"),
            ("name", "reader", "must begin with amc-cleanrooms-"),
            ("name", f"amc-cleanrooms-{'r' * 64}", "at most 64 characters"),
            ("kind", "other", "not one of the available choices"),
        ],
    ),
    ("catalogue", "how", [("how", "by-hand", "not one of the available choices")]),
    (
        "id-namespace",
        "namespace",
        [
            ("name", "my namespace", "letters, digits, dashes and underscores only"),
            ("name", "n" * 256, "at most 255 characters"),
            ("association", "a" * 101, "at most 100 characters"),
            ("description", "d" * 256, "at most 255 characters"),
        ],
    ),
    ("mapping-table", "namespace", [("arn", f"{ARN}other", "not one of the available choices")]),
    (
        "mapping-table",
        "name",
        [
            ("name", "customers!", "English letters, digits, underscores and inner spaces only"),
            ("name", "customers", "has a mapping table “customers” already"),
            ("name", "c" * 129, "at most 128 characters"),
        ],
    ),
    ("mapping-table", "another", [("understood", "", "Confirm it, or replace the data")]),
]


@pytest.mark.parametrize(("key", "slug", "wrong"), WRONG, ids=[f"{key}-{slug}" for key, slug, _ in WRONG])
def test_it_is_said_at_the_field_and_kept(client, naming, key, slug, wrong):
    for call, output in SEEN.items():
        CallRecord.objects.create(
            step=naming.step("mapping-look"),
            key=call,
            outcome="read",
            output=output,
            started_at=timezone.now(),
            finished_at=timezone.now(),
        )
    naming.ready(key)
    asked = url(naming, key, f"q/{slug}/")
    fields = fields_of(client.get(asked).content.decode())
    # What was right before is not lost to a mistake that comes after.
    right = {"arn": f"{ARN}crm", "understood": "on"}
    fields |= {name: right[name] for name, *_ in wrong if name in right}
    assert client.post(asked, fields).status_code == 302
    kept = naming.step(key).answers
    assert slug in kept
    for name, value, words in wrong:
        sent = {**fields, name: value}
        if not value:
            del sent[name]
        answer = client.post(asked, sent)
        text, body = text_of(answer), html.unescape(answer.content.decode())
        assert answer.status_code == 422, (name, value)
        assert words in text, (name, value, text)
        assert re.search(rf'href="#id_{name}(_0)?"', body), "the summary leads to the field"
        assert re.search(rf'<[^>]*name="{name}"[^>]*aria-invalid="true"', body), (name, body)
        for other, typed in sent.items():
            if other == "csrfmiddlewaretoken":
                continue
            if fields_of(answer.content.decode()).get(other) is None:
                # A choice that is not offered can't be shown as chosen; everything else stays as it was sent.
                assert other == name and f'value="{typed}"' not in body
            else:
                assert html.unescape(fields_of(answer.content.decode())[other]).strip() == typed, other
        assert naming.step(key).answers == kept
    assert Step.objects.get(pk=naming.step(key).pk).state == "ready"
