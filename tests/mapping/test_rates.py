"""The rate of a mapping job is kept beside its metrics, also for the jobs of before."""

import importlib

import pytest
from django.apps import apps
from django.utils import timezone

from onboarding.models import Instance, MappingJob, MappingTable


@pytest.fixture
def table(connected):
    now = timezone.now()
    instance = Instance.objects.create(account=connected, name="Mapped", status_since=now)
    return MappingTable.objects.create(instance=instance, table_id="t", name="customers", seen_at=now)


def job(table, number: int, **fields) -> MappingJob:
    now = timezone.now()
    return MappingJob.objects.create(
        table=table, kind="create", job_id=f"j{number}", asked_at=now, seen_at=now, ended_at=now, **fields
    )


METRICS = {"inputRecords": 200, "totalMappedSourceRecords": 50}


@pytest.mark.parametrize(
    ("fields", "rate"),
    [
        ({"status": "SUCCEEDED", "metrics": METRICS}, 0.25),
        ({"status": "SUCCEEDED", "metrics": METRICS, "forecast": {"customers": 100}}, 0.5),
        ({"status": "SUCCEEDED", "metrics": {"inputRecords": 0, "totalMappedSourceRecords": 0}}, None),
        ({"status": "SUCCEEDED"}, None),
        ({"status": "RUNNING", "metrics": METRICS}, None),
    ],
)
def test_the_rate_follows_metrics_and_forecast(table, fields, rate):
    made = job(table, 1, **fields)
    made.refresh_from_db()
    assert made.rate == rate
    # What was noted before the rate was kept gets the same.
    MappingJob.objects.update(rate=None)
    importlib.import_module("onboarding.migrations.0019_match_rate_of_a_job").rate_jobs(apps, None)
    made.refresh_from_db()
    assert made.rate == rate


def test_a_save_of_some_fields_keeps_the_rate_true(table):
    made = job(table, 1, status="RUNNING", metrics=METRICS)
    made.status = "SUCCEEDED"
    made.save(update_fields=["status"])
    made.refresh_from_db()
    assert made.rate == 0.25
