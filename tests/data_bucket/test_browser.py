"""A file of several parts goes from a browser into the bucket: cut off, offline, reloaded, and still byte by byte."""

import hashlib

import pytest
from playwright.sync_api import expect

from onboarding.models import SourceFile
from onboarding.services import uploads
from tests.browser.conftest import SCREENSHOTS, Somebody
from tests.data_bucket.test_uploads import BODY, version  # noqa: F401

pytestmark = pytest.mark.django_db(transaction=True)


class Visitor(Somebody):
    """Somebody whose session was made beforehand."""

    def __init__(self, browser, url: str, cookie: str) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 900})
        self.context.add_cookies([{"name": "sessionid", "value": cookie, "url": url}])
        self.page = self.context.new_page()
        self.page.set_default_timeout(30_000)
        self.problems = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))


def test_an_upload_survives_what_happens_to_connections(
    bringing,
    version,  # noqa: F811
    s3,
    amazon,
    live_server,
    client,
    browser,
    settings,
    tmp_path,
):
    origin = live_server.url
    rule = {"AllowedOrigins": [origin], "AllowedMethods": ["PUT"], "AllowedHeaders": ["x-amz-checksum-sha256"]}
    s3.put_bucket_cors(Bucket="acme-data", CORSConfiguration={"CORSRules": [{**rule, "ExposeHeaders": ["ETag"]}]})
    path = tmp_path / "customers.csv"
    path.write_bytes(BODY)
    client.force_login(bringing.analyst, backend="portal.signin.amazon.LoginWithAmazon")
    # Two parts are cut off on the way; they are sent again by themselves. The third waits for the reload.
    amazon.control("POST", "rules", operation="s3:UploadPart", nth=1, times=2, action={"kind": "cut_before"})
    amazon.control("POST", "rules", operation="s3:UploadPart", nth=3, times=1, action={"kind": "hold_before"})
    visitor = Visitor(browser, origin, client.cookies["sessionid"].value)
    page = visitor.page
    address = f"{origin}/instances/{bringing.run.instance_id}/steps/data-bucket/uploads/"
    page.goto(address)
    visitor.look("uploads-empty", SCREENSHOTS)
    page.locator("#upload-files").set_input_files(path)
    expect(page.locator(".upload-state")).to_contain_text("%: ", timeout=30_000)
    # The policy of the page lets nothing be evaluated in it, so it is asked from outside.
    while page.locator(".upload progress").evaluate("bar => bar.value") < 60:
        page.wait_for_timeout(50)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".upload-state")).to_have_text("Paused")
    visitor.look("uploads-paused", SCREENSHOTS)
    # The laptop is closed, and opened without a network.
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(address)
    expect(page.get_by_text("Not finished: choose the same file again")).to_be_visible()
    file = SourceFile.objects.get()
    visitor.context.set_offline(True)
    page.locator("#upload-files").set_input_files(path)
    expect(page.locator(".upload-state")).to_contain_text("No network")
    visitor.context.set_offline(False)
    expect(page.locator(".upload-state")).to_have_text("In the bucket", timeout=60_000)
    expect(page.get_by_role("button", name="Go on with 1 file")).to_be_visible()
    visitor.look("uploads-done", SCREENSHOTS)
    assert visitor.problems == []
    visitor.context.close()
    assert SourceFile.objects.get().pk == file.pk
    body = s3.get_object(Bucket="acme-data", Key=file.key)["Body"].read()
    assert hashlib.sha256(body).digest() == hashlib.sha256(BODY).digest()
    assert uploads.parts_of(file) == 3
