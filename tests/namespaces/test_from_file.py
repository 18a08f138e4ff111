"""The identity steps answered by a file: what it leaves empty is proposed, what it says is taken."""

import pytest
from django.utils import timezone

from onboarding.engine.situations import situation_of
from onboarding.guide.schema_mapping import SchemaMapping
from onboarding.services import from_file, runs

pytestmark = pytest.mark.django_db
STEPS = """
  source-role:
    tables: {database: mine}
    role: {kind: new}
  catalogue:
    how: {how: manifest}
  schema-mapping:
    table-1:
      columns: |
        email_2: EMAIL_ADDRESS, Email, clear
        tcf: leave out
  id-namespace:
    namespace: {}
"""


def test_a_file_answers_them(naming):
    name = naming.run.instance.name
    account = naming.account.entity_id
    file = from_file.read(f"account: {account}\nsteps:\n  create-instance:\n    name: {{name: {name}}}\n{STEPS}")
    for key in ("source-role", "catalogue", "schema-mapping", "id-namespace"):
        step = naming.step(key)
        assert from_file._answer(file, step, naming.analyst, timezone.now(), again=False)[0] == []
        step = naming.step(key)
        assert runs.open_questions(step, situation_of(step.run)) == []
    assert naming.step("source-role").answers["tables"] == {"database": "mine", "tables": "crm_v1_identity"}
    (call,) = SchemaMapping().full_plan(situation_of(naming.step("schema-mapping").run))
    fields = {one["fieldName"]: one for one in call.params["mappedInputFields"]}
    assert fields["email_2"]["hashed"] is False and fields["email"]["hashed"] is True
    assert "tcf" not in fields


@pytest.mark.parametrize(
    ("line", "words"), [("nothing: EMAIL_ADDRESS", "has no column “nothing”"), ("email: EMAIL", "is no type of")]
)
def test_a_wrong_line_is_named(naming, line, words):
    question = SchemaMapping().asked(situation_of(naming.run))[0]
    form = question({"columns": line}, situation=situation_of(naming.run))
    assert not form.is_valid() and words in str(form.errors)
