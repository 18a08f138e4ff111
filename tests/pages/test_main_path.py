"""From "start" to "completed" by the pages alone: analyst, approver, worker, analyst."""

from __future__ import annotations

from onboarding.models import Instance, StepState
from tests.pages.conftest import text_of


def test_start_answer_review_ask_approve_and_watch(account, analyst, approver, amazon, queued, as_):
    from tests.pages.conftest import Pages

    browser = as_(analyst)
    assert "Start an onboarding" in text_of(browser.get("/"))
    started = browser.post("/instances/new/", {"account": account.pk, "name": "Acme US"})
    instance = Instance.objects.get()
    assert started.url == f"/instances/{instance.pk}/"
    pages = Pages(browser, as_(approver), instance.pk)

    tasks = text_of(browser.get(started.url))
    assert (
        "Check the requirements" in tasks
        and "Cannot start yet" in tasks
        and "Needs “Check the requirements” first" in tasks
    )
    first = browser.get(pages.url("requirements"))
    assert first.url == pages.url("requirements", "q/eligibility/")
    assert "Step 1 of 2" in text_of(browser.get(first.url))
    pages.confirm()
    assert pages.step("requirements").state == StepState.DONE
    pages.work("amc-access")

    assert browser.get(pages.url("create-instance")).url == pages.url("create-instance", "q/name/")
    assert 'value="Acme US"' in browser.get(pages.url("create-instance", "q/name/")).content.decode()
    following = pages.answer("create-instance", "name", name="Acme US")
    assert following.url == pages.url("create-instance", "q/advertiser/")
    pages.describe()
    assert browser.get(pages.url("create-instance")).url == pages.url("create-instance", "review/")
    review = text_of(browser.get(pages.url("create-instance", "review/")))
    for words in (
        "Create instance “Acme US”",
        "1111-2222-3333",
        "us-east-1",
        "Will be made",
        "Ask for approval: Create instance",
        "Paul Approver",
        "$AMC_TOKEN",
    ):
        assert words in review, words
    request = pages.ask("Needed for the autumn campaign")
    waiting = text_of(browser.get(pages.url("create-instance", "progress/")))
    assert "Waiting for approval" in waiting and "Withdraw the request" in waiting

    inbox = text_of(pages.approver_client.get("/requests/"))
    assert "Create instance “Acme US”" in inbox
    page = pages.approver_client.get(f"/requests/{request.pk}/")
    assert "Approve: Create instance “Acme US”" in text_of(page)
    assert "Needed for the autumn campaign" in text_of(page)
    assert request.digest in page.content.decode()
    assert pages.approve(request).status_code == 302
    pages.work("create-instance")
    done = text_of(browser.get(pages.url("create-instance", "progress/")))
    assert "Made" in done
    assert pages.work("collaboration").state == StepState.DONE
    assert pages.work("advertisers-now").state == StepState.DONE
    final = browser.get(f"/instances/{instance.pk}/")
    assert "Waiting for an answer" in text_of(final)
    assert text_of(final).count("Completed") == 5
    assert "data-poll" not in final.content.decode()
    members = text_of(browser.get(f"/instances/{instance.pk}/members/"))
    assert "Amazon" in members and "1111-2222-3333" in members


def test_what_was_cancelled_while_amazon_made_it_is_onboarded_from_its_page(pages, amazon):
    amazon.status = "IN_PROGRESS"
    pages.approve(pages.until_asked())
    pages.work("create-instance")
    url = f"/instances/{pages.pk}/"
    assert "Onboard Acme US" not in text_of(pages.client.get(url))
    pages.client.post(f"{url}cancel/", {"typed": "Acme US"})
    page = text_of(pages.client.get(url))
    assert "AMC has this instance" in page and "AMC has not finished creating this instance" in page
    Instance.objects.update(creation_status="COMPLETED")
    page = text_of(pages.client.get(url))
    assert "Onboard Acme US" in page and "Take over Acme US" in page
    refused = pages.client.post("/instances/new/", {"account": Instance.objects.get().account_id, "name": "Acme US"})
    assert "open that instance and onboard it" in text_of(refused)
    assert pages.client.post(f"{url}onboard").status_code == 302
    assert "Onboard Acme US" not in text_of(pages.client.get(url))
    amazon.status = "COMPLETED"
    pages.approve(pages.until_asked())
    assert pages.work("create-instance").state == "done"
    assert amazon.calls["createInstance"] == 1
