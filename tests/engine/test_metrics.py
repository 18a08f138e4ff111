"""What monitoring reads."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from prometheus_client.parser import text_string_to_metric_families

from onboarding.clients import beside, counters
from onboarding.clients.failures import Later
from onboarding.models import StepState

TOKEN = "a-token-for-monitoring-alone"


@pytest.fixture
def submitted(onboarding):
    """A step that waits for its approval."""
    return onboarding.until_asked().step


@pytest.fixture
def read(client, settings):
    settings.METRICS_TOKEN = TOKEN

    def families():
        answer = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200
        return {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(answer.content.decode())
            for sample in family.samples
        }

    return families


def test_only_the_token_opens_it(client, db, settings):
    settings.METRICS_TOKEN = ""
    assert client.get("/metrics").status_code == 404
    settings.METRICS_TOKEN = TOKEN
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"Authorization": "Bearer other"}).status_code == 401
    assert client.get(f"/metrics?token={TOKEN}").status_code == 401


def test_the_engine_and_the_calls_are_in_it(read, submitted, own_redis):
    with counters.counted("amc", "listInstances"):
        pass
    with pytest.raises(Later), counters.counted("amc", "listInstances"):
        raise Later("Amazon asks for a pause")
    found = read()
    assert found["portal_redis_up",] == 1
    assert found["portal_steps", StepState.AWAITING_APPROVAL] == 1
    assert found["portal_requests_open",] == 1
    assert found["portal_request_oldest_seconds",] > 0
    assert found["portal_amazon_calls_total", "amc", "listInstances", "ok"] == 1
    assert found["portal_amazon_calls_total", "amc", "later", "listInstances"] == 1
    assert found["portal_amazon_call_seconds_count", "amc"] == 2
    for queue in ("default", "identity"):
        assert found["portal_queue_jobs", queue] == 0 and found["portal_workers", queue] == 0


def test_without_redis_the_rest_is_there_and_calls_go_on(read, submitted, settings, monkeypatch):
    monkeypatch.setattr(beside, "_silent_until", 0.0)
    with counters.counted("s3", "ListBuckets"):
        pass
    assert beside._silent_until > 0
    found = read()
    assert found["portal_redis_up",] == 0
    assert found["portal_requests_open",] == 1
    assert not [key for key in found if "amazon" in key[0]]


def test_it_asks_a_bounded_number_of_queries_and_names_nobody(client, settings, submitted, account, own_redis):
    settings.METRICS_TOKEN = TOKEN
    with CaptureQueriesContext(connection) as asked:
        text = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).content.decode()
    assert len(asked) <= 12
    for name in (account.name, account.entity_id, submitted.run.instance.name, submitted.asked_by.name):
        assert name not in text
