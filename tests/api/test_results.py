"""Results that end soon, by the API: of one's own accounts alone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from onboarding.models import Instance, QueryResult

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


@pytest.fixture
def instance(account) -> Instance:
    """An instance with results that ended, and such as end in 2 and in 12 days."""
    now = timezone.now()
    made = Instance.objects.create(account=account, name="Acme US", instance_id="amc1", status_since=now)
    for days, workflow in ((12, "overlap"), (2, "reach"), (-1, "over")):
        QueryResult.objects.create(
            instance=made,
            execution_id=f"e{days}",
            workflow_id=workflow,
            created_at=now - (90 - days) * DAY,
            ends_at=now + days * DAY,
        )
    return made


@pytest.mark.parametrize(
    ("query", "workflows"),
    [("", ["reach", "overlap"]), ("?days=3", ["reach"]), ("?q=LAP", ["overlap"]), ("?days=0", None)],
)
def test_what_ends_first_comes_first(instance, program, analyst, query, workflows):
    answer = program(analyst).client.get(f"/api/v1/results{query}")
    if workflows is None:
        assert answer.status_code == 422
        return
    body = answer.json()
    assert (answer.status_code, body["total"]) == (200, len(workflows))
    assert [row["workflow_id"] for row in body["items"]] == workflows
    assert {row["instance"] for row in body["items"]} == {instance.pk}
    row = QueryResult.objects.get(workflow_id=workflows[0])
    assert body["items"][0]["workflow_execution_id"] == row.execution_id
    assert body["items"][0]["ends_at"][:19] == row.ends_at.isoformat()[:19]


def test_whoever_has_no_role_on_the_account_sees_none(instance, program, outsider):
    assert program(outsider).get("/results", instance=instance.pk).json() == {"items": [], "total": 0}
