"""Looking into S3: which buckets, folder by folder, page by page, and what was ticked becomes the answer."""

import pytest

from onboarding.models import Step
from onboarding.services import browsing

pytestmark = pytest.mark.django_db


@pytest.fixture
def filled(bringing, s3, monkeypatch):
    monkeypatch.setattr(browsing, "PAGE_SIZE", 3)
    s3.create_bucket(Bucket="acme-files")
    s3.create_bucket(Bucket="acme-europe", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    for key in ("in/2026/a&b.csv", "in/2026/c.csv", "in/1.csv", "in/2.csv", "in/3.csv", "in/"):
        s3.put_object(Bucket="acme-files", Key=key, Body=b"x" * 5)
    bringing.answer("data-bucket", "where", where="files")
    Step.objects.filter(run=bringing.run, key="data-bucket").update(state="done")
    Step.objects.filter(run=bringing.run, key="identity-files").update(state="ready")
    return bringing


def test_buckets_folders_and_pages(filled, client, django_assert_max_num_queries):
    client.force_login(filled.analyst, backend="portal.signin.amazon.LoginWithAmazon")
    here = f"/instances/{filled.run.instance_id}/steps/identity-files/browse/"
    with django_assert_max_num_queries(20):
        shown = client.get(here).content.decode()
    assert "acme-files" in shown and "acme-europe" not in shown
    first = client.get(here, {"bucket": "acme-files", "prefix": "in/"})
    listing = first.context["listing"]
    assert [folder.place for folder in listing.folders] + [file.key for file in listing.files] != []
    seen = {*(folder.prefix for folder in listing.folders), *(file.key for file in listing.files)}
    assert listing.next_page
    second = client.get(here, {"bucket": "acme-files", "prefix": "in/", "page": listing.next_page}).context["listing"]
    seen |= {*(folder.prefix for folder in second.folders), *(file.key for file in second.files)}
    assert seen == {"in/2026/", "in/1.csv", "in/2.csv", "in/3.csv"} and not second.next_page
    part = client.get(here, {"bucket": "acme-files", "prefix": "in/2026/"}, headers={"HX-Request": "true"})
    assert "<html" not in part.content.decode() and "a&amp;b.csv" in part.content.decode()
    missing = client.get(here, {"bucket": "acme-nowhere"}).content.decode()
    assert "It is not there." in missing


def test_what_is_ticked_becomes_the_answer(filled, client):
    client.force_login(filled.analyst, backend="portal.signin.amazon.LoginWithAmazon")
    at = f"/instances/{filled.run.instance_id}/steps/identity-files/"
    places = ["s3://acme-files/in/1.csv", "s3://acme-files/in/2026/"]
    answer = client.post(f"{at}browse/?bucket=acme-files&prefix=in/", {"place": places})
    assert (answer.status_code, answer["Location"]) == (302, f"{at}q/places/")
    assert filled.step("identity-files").answers["places"]["places"] == places
    # Nothing ticked is said, and changes nothing.
    client.post(f"{at}browse/?bucket=acme-files&prefix=in/", {})
    client.post(f"{at}browse/?bucket=acme-files", {"place": ["s3://acme-files/in/1.csv"]})
    assert filled.step("identity-files").answers["places"]["places"] == places
