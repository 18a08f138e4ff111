"""More than one data set of an instance, and a new version later, each through to its ID namespace."""

from __future__ import annotations

import pytest

from onboarding.engine import queue
from onboarding.guide.data_bucket import KEY as BUCKET_STEP
from onboarding.models import Dataset, DatasetVersion, IdNamespace, Run
from onboarding.services import identity_files
from onboarding.services.errors import Refused
from tests.datasets.conftest import BUCKET, Files, as_csv, people
from tests.engine.conftest import person
from tests.join.conftest import PRIMARY, aws, connect
from tests.namespaces.conftest import Naming
from tests.pages.conftest import text_of
from tests.simulated import browser

REST = ("source-role", "catalogue", "schema-mapping", "id-namespace")


class Whole(Naming, Files):
    """A run that really joins, then brings its data."""

    def bring(self, name: str, rows: int) -> None:
        """Everything from the files to the ID namespace."""
        self.put(f"in/{name}.csv", as_csv(people(rows)))
        self.choose(f"s3://{BUCKET}/in/{name}.csv", name=name)
        step = self.prepare()
        assert step.state == "done", step.failure
        for key in REST:
            step = self.do(key)
            assert step.state == "done", (key, step.failure)

    def confirm(self) -> None:
        """Who acts, and where the data lie, was answered the last time: both are only looked at again."""
        for key in ("aws-access", BUCKET_STEP):
            assert self.submit(key) is None
            step = self.work(key)
            assert step.state == "done", (key, step.failure)


@pytest.fixture
def whole(connected, amazon, portal_itself, monkeypatch, settings) -> Whole:
    monkeypatch.setattr(queue, "put", lambda ids: True)
    monkeypatch.setattr(queue, "put_identity", lambda ids: True)
    settings.POLL_SCALE = settings.RETRY_SCALE = 0.001
    world = Whole(amazon, connected, person(connected, "Mia", "analyst"), person(connected, "Paul", "approver"))
    connect(connected, amazon.url, PRIMARY)
    world.join_for_real()
    world.s3 = aws(amazon.url, PRIMARY, "s3")
    world.answer(BUCKET_STEP, "where", where="files")
    world.answer(BUCKET_STEP, "bucket", kind="new", name=BUCKET)
    world.answer(BUCKET_STEP, "folder", prefix="amc")
    world.submit(BUCKET_STEP)
    assert world.work(BUCKET_STEP).state == "done", world.step(BUCKET_STEP).failure
    return world


def test_a_second_data_set_and_a_new_version_of_the_first(whole, client):
    page = browser(whole.analyst)
    data = f"/instances/{whole.run.instance_id}/data/"
    with pytest.raises(Refused, match="brings the first data set"):
        identity_files.another(person=whole.analyst, instance=whole.run.instance, now=whole.run.started_at)
    whole.bring("customers", 6)

    # Another data set of the same instance.
    assert "Bring another data set" in text_of(page.get(data))
    assert page.post(f"{data}new").status_code == 302
    whole.run = Run.objects.get(procedure="dataset")
    assert "Data are being brought" in text_of(page.get(data))
    whole.confirm()
    whole.bring("newsletter", 4)
    whole.run.refresh_from_db()
    assert whole.run.ended_at is not None

    # Later a new version of the first: what was made of the first version stays as it is.
    first = Dataset.objects.get(name="customers")
    assert page.post(f"/datasets/{first.pk}/new-version").status_code == 302
    whole.run = Run.objects.get(procedure="dataset", ended_at=None)
    whole.confirm()
    before = {key: whole.s3.get_object(Bucket=BUCKET, Key=key)["ETag"] for key in whole.listed("amc/customers/v1/")}
    whole.bring("customers", 9)
    assert (
        before.items()
        <= {key: whole.s3.get_object(Bucket=BUCKET, Key=key)["ETag"] for key in whole.listed("amc/customers/")}.items()
    )

    versions = DatasetVersion.objects.order_by("dataset__name", "number")
    assert [(one.dataset.name, one.number, one.state) for one in versions.select_related("dataset")] == [
        ("customers", 1, "ready"),
        ("customers", 2, "ready"),
        ("newsletter", 1, "ready"),
    ]
    assert len(set(IdNamespace.objects.values_list("arn", flat=True))) == 3
    tables = aws(whole.amazon.url, PRIMARY, "glue").get_tables(DatabaseName="amc_customers")["TableList"]
    assert {table["StorageDescriptor"]["Location"] for table in tables} == {
        f"s3://{BUCKET}/amc/customers/v1/customers/",
        f"s3://{BUCKET}/amc/customers/v2/customers/",
    }
    listed = text_of(page.get(data))
    assert "newsletter" in listed and "Ready" in listed
