"""One step carried out: what is made once, what is adopted, what waits, what stops."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import DataError, IntegrityError, InterfaceError, OperationalError, ProgrammingError, transaction

from onboarding.clients.failures import Fix, Later, Reconnect
from onboarding.engine import executor, queue, resume
from onboarding.engine.clock import tick
from onboarding.engine.explain import explain
from onboarding.guide.create_instance import CreateInstance, name_taken
from onboarding.guide.plan import Call, Look
from onboarding.models import AuditEntry, CallRecord, Instance, LogLine, Notice, Role, Step
from onboarding.services import requests, runs
from onboarding.services.errors import NotAllowed, Refused
from tests.engine.conftest import Onboarding


def test_the_whole_way(onboarding, amazon):
    request = onboarding.until_asked()
    assert onboarding.step("create-instance").state == "awaiting_approval"
    onboarding.approve(request)
    assert onboarding.work("create-instance").state == "done"
    assert onboarding.work("collaboration").state == "done"
    instance = Instance.objects.get()
    assert instance.instance_id == "amc000000"
    assert instance.creation_status == "COMPLETED"
    assert instance.collaboration_status == "PENDING_ACCEPTANCE"
    onboarding.work("advertisers-now")
    onboarding.join_alone()
    assert onboarding.work("join").state == "waiting"
    amazon.collaboration_status = "ACTIVE"
    onboarding.clock.skip(120)
    assert onboarding.work("join").state == "done"
    instance.refresh_from_db()
    assert (instance.status, instance.collaboration_status) == ("your_turn", "ACTIVE")
    assert instance.members.count() == 2
    onboarding.bring_nothing()
    instance.refresh_from_db()
    assert instance.status == "done"
    onboarding.run.refresh_from_db()
    assert onboarding.run.ended_at is not None
    assert amazon.calls["createInstance"] == 1
    sent = dict(amazon.sent)["createInstance"]
    sent.pop("idempotencyToken")
    assert sent == {
        "instanceName": "Acme US",
        "awsAccountId": "111122223333",
        "acrBacked": True,
        "advertiserName": "Acme",
    }


def test_what_is_not_due_is_not_touched(onboarding, amazon):
    onboarding.confirm()
    step = onboarding.step("create-instance")
    executor.work(step.pk, now=onboarding.clock)
    assert onboarding.step("create-instance").state == "blocked"
    assert not amazon.sent


def test_a_job_that_comes_twice_does_nothing_the_second_time(onboarding, amazon):
    onboarding.approve(onboarding.until_asked())
    onboarding.work("create-instance")
    before = amazon.calls.copy()
    onboarding.work("create-instance")
    assert amazon.calls == before


def test_an_answer_that_never_came_does_not_make_a_second_one(onboarding, amazon):
    amazon.after["createInstance"] = [Later("The connection broke", ambiguous=True)]
    onboarding.approve(onboarding.until_asked())
    step = onboarding.work("create-instance")
    assert (step.state, step.waiting_for) == ("waiting", "retry")
    onboarding.clock.skip(600)
    assert onboarding.work("create-instance").state == "done"
    assert len(amazon.instances) == 1
    assert CallRecord.objects.get(step=step, key="instance").outcome == "adopted"
    assert amazon.calls["createInstance"] == 1


def test_what_exists_and_is_equal_is_adopted(onboarding, amazon):
    request = onboarding.until_asked()
    amazon.instances.append({"instanceId": "amcmine", "instanceName": "Acme US", "awsAccountId": "111122223333"})
    onboarding.approve(request)
    assert onboarding.work("create-instance").state == "done"
    assert amazon.calls["createInstance"] == 0
    assert Instance.objects.get().instance_id == "amcmine"


def test_what_exists_and_differs_stops_and_shows_the_difference(onboarding, amazon):
    request = onboarding.until_asked()
    amazon.instances.append({"instanceId": "amcother", "instanceName": "Acme US", "awsAccountId": "999999999999"})
    onboarding.approve(request)
    step = onboarding.work("create-instance")
    assert step.state == "failed"
    assert step.failure["code"] == "Different"
    assert "999999999999" in step.failure["why"] and "111122223333" in step.failure["why"]
    assert amazon.calls["createInstance"] == 0


OTHERS = {
    "an instance with a bucket of its own, not backed by Clean Rooms": {"s3BucketName": "acme-bucket"},
    "another advertiser's": {"customerCanonicalName": "Rival"},
}
OURS = {
    "still being made": {"creationStatus": "REQUESTED", "s3BucketName": "", "customerCanonicalName": None},
    "made": {"creationStatus": "COMPLETED", "s3BucketName": None, "customerCanonicalName": "ACME"},
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_exists_under_the_name_but_is_another_is_not_adopted(onboarding, amazon, what):
    request = onboarding.until_asked()
    same = {"instanceId": "amcother", "instanceName": "Acme US", "awsAccountId": "111122223333"}
    amazon.instances.append(same | OTHERS[what])
    onboarding.approve(request)
    step = onboarding.work("create-instance")
    assert (step.state, step.failure["code"]) == ("failed", "Different")
    assert str(*OTHERS[what].values()) in step.failure["why"]
    assert amazon.calls["createInstance"] == 0 and Instance.objects.get().instance_id == ""


@pytest.mark.parametrize("what", OURS)
def test_what_exists_and_says_less_is_adopted(onboarding, amazon, what):
    request = onboarding.until_asked()
    same = {"instanceId": "amcmine", "instanceName": "Acme US", "awsAccountId": "111122223333"}
    amazon.instances.append(same | OURS[what])
    onboarding.approve(request)
    assert onboarding.work("create-instance").state == "done"
    assert amazon.calls["createInstance"] == 0


def test_any_advertiser_will_do_where_none_was_asked_for(onboarding, amazon):
    onboarding.confirm()
    onboarding.work("amc-access")
    onboarding.describe()
    onboarding.answer("create-instance", "advertiser", name="")
    request = onboarding.submit("create-instance")
    same = {"instanceId": "amcmine", "instanceName": "Acme US", "awsAccountId": "111122223333"}
    amazon.instances.append({**same, "customerCanonicalName": "Whoever"})
    onboarding.approve(request)
    assert onboarding.work("create-instance").state == "done"


def partner(account_id: str, status: str = "INVITED") -> dict:
    return {"accountId": account_id, "displayName": "Partner", "status": status}


@pytest.mark.parametrize(
    ("wanted", "there", "is_"),
    [
        ([], [partner("222222222222")], "Partners: 222222222222, approved: none"),
        (["222222222222"], [], "Partners: none, approved: 222222222222"),
        (["222222222222"], [partner("333333333333")], "Partners: 333333333333, approved: 222222222222"),
        (["222222222222"], [partner("222222222222", "LEFT")], "Partners: none, approved: 222222222222"),
        (["222222222222"], [partner("222222222222")], ""),
        (["333333333333", "222222222222"], [partner("222222222222"), partner("333333333333")], ""),
        ([], [partner("222222222222", "REMOVED")], ""),
    ],
)
def test_a_collaboration_has_to_have_the_members_that_were_approved(onboarding, amazon, wanted, there, is_):
    onboarding.confirm()
    onboarding.work("amc-access")
    onboarding.describe()
    if wanted:
        onboarding.answer("create-instance", "parties", multi="yes")
        named = {f"{word}_{n}": f"{one}" for n, one in enumerate(wanted, 1) for word in ("account", "name")}
        onboarding.answer("create-instance", "partners", **named)
    amazon.instances.append({"instanceId": "amcmine", "instanceName": "Acme US", "awsAccountId": "111122223333"})
    onboarding.approve(onboarding.submit("create-instance"))
    assert onboarding.work("create-instance").state == "done"
    amazon.collaboration = {"customerPartners": there}
    # What is not set up yet has not all its members.
    amazon.collaboration_status = "IN_PROGRESS"
    assert onboarding.work("collaboration").state == "waiting"
    amazon.collaboration_status = "PENDING_ACCEPTANCE"
    onboarding.clock.skip(60)
    step = onboarding.work("collaboration")
    if not is_:
        assert step.state == "done"
        return
    assert (step.state, step.failure["code"], step.failure["why"]) == ("failed", "Different", is_)
    assert step.failure["details"]["differences"][0]["path"] == "Partners"


def test_a_collaboration_of_another_account_is_not_gone_on_with(onboarding, amazon):
    onboarding.approve(onboarding.until_asked())
    onboarding.work("create-instance")
    amazon.collaboration = {"customer": partner("999999999999")}
    step = onboarding.work("collaboration")
    assert (step.state, step.failure["why"]) == ("failed", "AWS account: 999999999999, approved: 111122223333")


def test_other_answers_are_sent_with_another_token(onboarding, amazon):
    """Amazon knows the token of what it was asked for: with other parameters it would refuse it."""
    refusals = [Fix("Amazon refused it.", code="BadRequest", status=400) for _ in range(2)]
    amazon.before["createInstance"] = list(refusals)
    onboarding.approve(onboarding.until_asked())
    step = onboarding.work("create-instance")
    runs.try_again(person=onboarding.analyst, step=step, now=onboarding.clock())
    assert onboarding.work("create-instance").state == "failed"
    onboarding.answer("create-instance", "advertiser", name="Another")
    onboarding.approve(onboarding.submit("create-instance"))
    assert onboarding.work("create-instance").state == "done"
    tokens = [params["idempotencyToken"] for operation, params in amazon.sent if operation == "createInstance"]
    assert tokens[0] == tokens[1] != tokens[2]


def test_a_call_still_under_way_when_its_worker_was_killed_is_waited_for(onboarding, amazon):
    """The next worker's look came too early, and its own call too late: it looks again and finds what was made."""
    exists = Fix("It exists already.", code="EntityAlreadyExists", status=409)
    amazon.before["createInstance"] = [KeyboardInterrupt(), exists]
    onboarding.approve(onboarding.until_asked())
    with pytest.raises(KeyboardInterrupt):
        onboarding.work("create-instance")
    onboarding.clock.skip(60)
    step = onboarding.work("create-instance")
    assert (step.state, step.waiting_for) == ("waiting", "retry")
    onboarding.clock.skip(5)
    assert onboarding.work("create-instance").state == "done"


def test_what_exists_for_another_reason_is_said_at_once_and_after_a_repetition_soon(onboarding, amazon):
    amazon.before["createInstance"] = [Fix("It exists already.", code="Conflict", status=409) for _ in range(99)]
    onboarding.approve(onboarding.until_asked())
    step = onboarding.work("create-instance")
    assert (step.state, step.failure["code"]) == ("failed", "Conflict")
    runs.try_again(person=onboarding.analyst, step=step, now=onboarding.clock())
    for _ in range(20):
        step = onboarding.work("create-instance")
        if step.state == "failed":
            break
        onboarding.clock.skip(10)
    assert (step.state, step.failure["code"]) == ("failed", "Conflict")


def test_one_that_failed_in_amazon_is_not_adopted(onboarding, amazon):
    request = onboarding.until_asked()
    amazon.instances.append(
        {"instanceId": "amcold", "instanceName": "Acme US", "awsAccountId": "1", "creationStatus": "FAILED"}
    )
    onboarding.approve(request)
    assert onboarding.work("create-instance").state == "done"
    assert amazon.calls["createInstance"] == 1


def test_after_a_failure_in_amazon_trying_again_makes_it_anew(onboarding, amazon):
    amazon.status = "FAILED"
    onboarding.approve(onboarding.until_asked())
    step = onboarding.work("create-instance")
    assert step.state == "failed"
    assert step.failure["what"] == "AMC could not create the instance."
    amazon.status = "COMPLETED"
    runs.try_again(person=onboarding.analyst, step=step, now=onboarding.clock())
    assert onboarding.work("create-instance").state == "done"
    tokens = {params["idempotencyToken"] for operation, params in amazon.sent if operation == "createInstance"}
    assert len(amazon.instances) == 2
    assert len(tokens) == 2


def test_waiting_polls_ever_more_seldom_and_goes_on(onboarding, amazon):
    amazon.status = "IN_PROGRESS"
    onboarding.approve(onboarding.until_asked())
    pauses = []
    for _ in range(4):
        step = onboarding.work("create-instance")
        assert (step.state, step.waiting_for) == ("waiting", "amazon")
        pauses.append(round((step.next_attempt_at - step.since).total_seconds()))
        onboarding.clock.skip(pauses[-1] + 1)
    assert pauses == [5, 10, 15, 30]
    assert Instance.objects.get().status == "amazon"
    assert Instance.objects.get().creation_status == "IN_PROGRESS"
    amazon.status = "SUCCEEDED"
    assert onboarding.work("create-instance").state == "done"
    assert amazon.calls["createInstance"] == 1


def test_waiting_too_long_asks_a_person(onboarding, amazon):
    amazon.status = "SUBMITTED"
    onboarding.approve(onboarding.until_asked())
    onboarding.work("create-instance")
    onboarding.clock.skip(4 * 86_400)
    step = onboarding.work("create-instance")
    assert (step.state, step.failure["code"]) == ("failed", "TakesTooLong")


def test_retry_after_is_honoured_and_trouble_ends_some_day(onboarding, amazon):
    onboarding.confirm()
    amazon.before["AmcpLinkListAmcAccounts"] = [Later("Slow down", retry_after=120, code="429")]
    step = onboarding.work("amc-access")
    assert 120 <= (step.next_attempt_at - step.since).total_seconds() <= 151
    onboarding.clock.skip(200)
    amazon.before["AmcpLinkListAmcAccounts"] = [Later("Out of order", code="500")]
    assert onboarding.work("amc-access").state == "waiting"
    onboarding.clock.skip(6 * 3600 + 1)
    amazon.before["AmcpLinkListAmcAccounts"] = [Later("Out of order", code="500")]
    step = onboarding.work("amc-access")
    assert (step.state, step.failure["kind"]) == ("failed", "fix")
    runs.try_again(person=onboarding.analyst, step=step, now=onboarding.clock())
    assert onboarding.work("amc-access").state == "done"


def test_a_refusal_stops_in_plain_words_and_can_be_tried_again(onboarding, amazon):
    onboarding.approve(onboarding.until_asked())
    amazon.before["createInstance"] = [Fix("Amazon refused", why="Because", who="Analyst", todo="Do", code="400")]
    step = onboarding.work("create-instance")
    assert step.state == "failed"
    assert Instance.objects.get().status == "problem"
    assert Notice.objects.filter(person=onboarding.analyst, event__startswith="failed:").count() == 1
    runs.try_again(person=onboarding.analyst, step=step, now=onboarding.clock())
    assert onboarding.work("create-instance").state == "done"
    with pytest.raises(Refused):
        runs.try_again(person=onboarding.analyst, step=step, now=onboarding.clock())


def test_a_broken_login_pauses_and_a_new_one_resumes(onboarding, amazon, admin):
    onboarding.confirm()
    connection = onboarding.run.account.connection
    amazon.before["AmcpLinkListAmcAccounts"] = [Reconnect("The login ended", connection=f"amc:{connection.pk}")]
    step = onboarding.work("amc-access")
    assert (step.state, step.waiting_for) == ("waiting", f"amc:{connection.pk}")
    assert step.next_attempt_at is None
    assert Instance.objects.get().status == "reconnect"
    assert Notice.objects.filter(person=admin, event__startswith="broken:").count() == 1
    onboarding.clock.skip(10 * 86_400)
    assert onboarding.work("amc-access").state == "waiting"
    assert resume.connection_restored(f"amc:{connection.pk}", now=onboarding.clock()) == 1
    assert onboarding.work("amc-access").state == "done"


def test_no_call_is_made_through_a_broken_login(onboarding, amazon):
    onboarding.confirm()
    connection = onboarding.run.account.connection
    connection.state = "broken"
    connection.save()
    assert onboarding.work("amc-access").waiting_for == f"amc:{connection.pk}"
    assert not amazon.sent


def test_a_fault_of_the_portal_is_shown_as_one(onboarding, amazon):
    onboarding.confirm()
    amazon.before["AmcpLinkListAmcAccounts"] = [KeyError("mia@example.com")]
    step = onboarding.work("amc-access")
    assert (step.state, step.failure["code"]) == ("failed", "KeyError")
    assert "mia@example.com" not in str(step.failure) + "".join(LogLine.objects.values_list("text", flat=True))


def test_a_fault_while_noting_an_answer_leaves_nothing_half_written(onboarding, amazon, monkeypatch):
    onboarding.approve(onboarding.until_asked())
    from onboarding.guide.create_instance import CreateInstance

    real = CreateInstance.note
    monkeypatch.setattr(CreateInstance, "note", lambda *args: (_ for _ in ()).throw(ValueError))
    step = onboarding.work("create-instance")
    assert (step.state, step.failure["code"]) == ("failed", "ValueError")
    assert not CallRecord.objects.filter(step=step, finished_at__isnull=False).exists()
    monkeypatch.setattr(CreateInstance, "note", real)
    runs.try_again(person=onboarding.analyst, step=step, now=onboarding.clock())
    assert onboarding.work("create-instance").state == "done"
    assert amazon.calls["createInstance"] == 1


def test_a_worker_that_lost_its_lease_stops_and_writes_nothing(onboarding, amazon, settings):
    onboarding.approve(onboarding.until_asked())
    other = {}

    def meanwhile(operation: str) -> None:
        if operation == "createInstance" and not other:
            # The answer is on its way; this worker's lease runs out, and another one finishes the step.
            other["began"] = True
            onboarding.clock.skip(settings.LEASE_SECONDS + 1)
            other["state"] = onboarding.work("create-instance").state

    amazon.hook = meanwhile
    onboarding.work("create-instance")
    assert other["state"] == "done"
    assert len(amazon.instances) == 1
    assert amazon.calls["createInstance"] == 1
    assert LogLine.objects.filter(text__startswith="The worker was lost").count() == 1
    assert AuditEntry.objects.filter(act="step.done", subject__startswith="Create").count() == 1


def test_cancelling_stops_a_worker_before_its_next_call(onboarding, amazon):
    onboarding.approve(onboarding.until_asked())
    amazon.hook = lambda operation: (
        runs.run_cancel(person=onboarding.analyst, run=onboarding.run, now=onboarding.clock())
        if operation == "createInstance"
        else None
    )
    step = onboarding.work("create-instance")
    assert step.state == "cancelled"
    assert amazon.calls["getInstance"] == 0
    assert Instance.objects.get().status == "cancelled"
    assert step.log.filter(text__contains="may still have had its effect").exists()


def test_the_clock_puts_what_is_due_on_the_queue_and_not_twice(onboarding, amazon, queued):
    onboarding.confirm()
    step = onboarding.step("amc-access")
    queued.clear()
    now = onboarding.clock()
    assert tick(now=now).enqueued == 1
    assert queued == [step.pk]
    assert tick(now=onboarding.clock()).enqueued == 0
    onboarding.clock.skip(11)
    assert tick(now=onboarding.clock()).enqueued == 1
    onboarding.work("amc-access")
    onboarding.clock.skip(11)
    assert tick(now=onboarding.clock()).enqueued == 0


def test_the_clock_leaves_alone_what_still_lies_on_a_long_queue(onboarding, amazon, queued, monkeypatch):
    onboarding.confirm()
    step = onboarding.step("amc-access")
    queued.clear()
    oldest = step.since - timedelta(seconds=30)
    monkeypatch.setattr(queue, "oldest", lambda: oldest)
    # It was put there when it became queued, and what is older is not at its turn yet.
    assert tick(now=onboarding.clock()).enqueued == 0
    # What was put there after it is at its turn: it has been lost.
    oldest = step.since + timedelta(seconds=1)
    onboarding.clock.skip(2)
    assert tick(now=onboarding.clock()).enqueued == 1
    put_until = onboarding.step("amc-access").enqueued_until
    onboarding.clock.skip(60)
    oldest = put_until - timedelta(seconds=1)
    assert tick(now=onboarding.clock()).enqueued == 0
    oldest = put_until + timedelta(seconds=1)
    assert tick(now=onboarding.clock()).enqueued == 1
    assert queued == [step.pk] * 2


def test_the_clock_finds_a_row_whose_worker_vanished(onboarding, amazon, queued, settings):
    onboarding.confirm()
    step = onboarding.step("amc-access")
    assert executor.claim(step.pk, "gone", now=onboarding.clock()) is not None
    queued.clear()
    assert tick(now=onboarding.clock()).enqueued == 0
    onboarding.clock.skip(settings.LEASE_SECONDS + 1)
    assert tick(now=onboarding.clock()).enqueued == 1
    assert onboarding.work("amc-access").state == "done"


def test_an_empty_queue_out_of_reach_loses_nothing(onboarding, amazon, monkeypatch):
    monkeypatch.setattr(queue, "put", lambda ids: False)
    onboarding.confirm()
    assert tick(now=onboarding.clock()).enqueued == 1
    assert Step.objects.filter(key="amc-access", enqueued_until=None).exists()


# -- what a sign-off binds to


def test_nobody_approves_their_own(onboarding, account):
    Role.objects.create(person=onboarding.analyst, account=account, name="approver")
    request = onboarding.until_asked()
    with pytest.raises(NotAllowed):
        requests.approve(person=onboarding.analyst, request=request, digest=request.digest, now=onboarding.clock())
    onboarding.analyst.is_superuser = True
    onboarding.analyst.save()
    with pytest.raises(NotAllowed):
        requests.approve(person=onboarding.analyst, request=request, digest=request.digest, now=onboarding.clock())


def test_changing_an_answer_makes_the_request_void(onboarding, amazon):
    request = onboarding.until_asked()
    onboarding.answer("create-instance", "name", name="Acme Europe")
    request.refresh_from_db()
    assert request.state == "void"
    assert onboarding.step("create-instance").state == "ready"
    with pytest.raises(NotAllowed):
        onboarding.approve(request)


def test_an_approval_of_another_digest_is_refused(onboarding):
    request = onboarding.until_asked()
    with pytest.raises(Refused):
        requests.approve(person=onboarding.approver, request=request, digest="0" * 64, now=onboarding.clock())


def test_the_worker_refuses_a_plan_that_nobody_approved(onboarding, amazon):
    onboarding.approve(onboarding.until_asked())
    step = onboarding.step("create-instance")
    step.plan[0]["params"]["awsAccountId"] = "999999999999"
    Step.objects.filter(pk=step.pk).update(plan=step.plan)
    assert onboarding.work("create-instance").failure["code"] == "PlanChanged"
    from onboarding.guide import plan as plans

    Step.objects.filter(pk=step.pk).update(
        state="queued", next_attempt_at=onboarding.clock(), digest=plans.digest(step.plan)
    )
    assert onboarding.work("create-instance").failure["code"] == "NotApproved"
    assert amazon.calls["createInstance"] == 0


@pytest.mark.parametrize(("who", "code"), [("analyst", "RoleTaken"), ("approver", "NotApproved")])
def test_a_role_that_is_taken_stops_queued_work(onboarding, amazon, who, code):
    onboarding.approve(onboarding.until_asked())
    Role.objects.filter(person=getattr(onboarding, who)).delete()
    step = onboarding.work("create-instance")
    assert (step.state, step.failure["code"]) == ("failed", code)
    assert amazon.calls["createInstance"] == 0


def test_two_approvers_where_the_policy_says_so(onboarding, amazon, account):
    from onboarding.models import AccountPolicy
    from tests.engine.conftest import person

    AccountPolicy.objects.create(account=account, approvers_needed=2)
    request = onboarding.until_asked()
    onboarding.approve(request)
    assert onboarding.step("create-instance").state == "awaiting_approval"
    with pytest.raises(NotAllowed):
        onboarding.approve(request)
    second = person(account, "Pia", "approver")
    requests.approve(person=second, request=request, digest=request.digest, now=onboarding.clock())
    assert onboarding.work("create-instance").state == "done"


def test_send_back_withdraw_and_expire(onboarding):
    request = onboarding.until_asked()
    with pytest.raises(Refused):
        requests.send_back(
            person=onboarding.approver, request=request, digest=request.digest, comment=" ", now=onboarding.clock()
        )
    requests.send_back(
        person=onboarding.approver, request=request, digest=request.digest, comment="Wrong", now=onboarding.clock()
    )
    assert onboarding.step("create-instance").state == "ready"
    second = onboarding.submit("create-instance")
    requests.withdraw(person=onboarding.analyst, request=second, now=onboarding.clock())
    assert onboarding.step("create-instance").state == "ready"
    third = onboarding.submit("create-instance")
    onboarding.clock.skip(15 * 86_400)
    with pytest.raises(Refused):
        onboarding.approve(third)
    assert requests.expire_due(now=onboarding.clock()) == 1
    assert requests.expire_due(now=onboarding.clock()) == 0
    assert onboarding.step("create-instance").state == "ready"


def test_two_clicks_make_one_request(onboarding):
    onboarding.until_asked()
    with pytest.raises(Refused):
        onboarding.submit("create-instance")
    assert onboarding.step("create-instance").requests.count() == 1


def test_whoever_waits_for_a_turn_has_not_failed(onboarding, amazon):
    onboarding.approve(onboarding.until_asked())
    amazon.before["listInstances"] = [
        Later("Not our turn yet", retry_after=1.5, held=True),
        Later("Not our turn yet", retry_after=0.5, held=True),
    ]
    step = onboarding.work("create-instance")
    assert (step.state, step.waiting_for, step.attempts, step.troubled_since) == ("waiting", "retry", 0, None)
    assert (step.next_attempt_at - step.since).total_seconds() == 1.5
    onboarding.clock.skip(1.6)
    step = onboarding.work("create-instance")
    assert (step.next_attempt_at - step.since).total_seconds() == 0.5
    assert step.log.filter(text="Not our turn yet").count() == 1
    onboarding.clock.skip(0.6)
    assert onboarding.work("create-instance").state == "done"


# -- a look of many calls


def test_a_lease_outlasts_a_look_of_many_pages(onboarding, amazon):
    onboarding.approve(onboarding.until_asked())
    step = onboarding.step("create-instance")
    others = [{"instanceId": f"amcother{n}", "instanceName": f"Other {n}", "awsAccountId": "1"} for n in range(16)]
    amazon.instances, amazon.page_size = others, 2
    rivals = []

    def slowly(operation: str) -> None:
        onboarding.clock.skip(6)
        rivals.append(executor.claim(step.pk, "rival", now=onboarding.clock()))

    amazon.hook = slowly
    assert onboarding.work("create-instance").state == "done"
    assert amazon.calls["listInstances"] == 8 and not any(rivals)


class Slow:
    """A client that tells in which order it was asked, and `before` was called."""

    def __init__(self) -> None:
        self.order: list[str] = []

    def before(self) -> None:
        self.order.append("renew")

    def call(self, operation: str, params: dict) -> dict:
        self.order.append(operation)
        return {"n": params.get("id"), "Role": {}}

    def pages(self, operation: str, params: dict, items: str, before=None):
        for page in range(2):
            before()
            self.order.append(operation)
            yield from [{"id": page}, {"id": page}]


def test_a_lease_is_renewed_before_every_call_of_a_look():
    slow = Slow()
    executor.find(
        slow,
        Look("ListThings", items="things", detail="GetThing", detail_param={"id": "id"}, several=True),
        slow.before,
    )
    executor.find(slow, Look("GetThing"), slow.before)
    assert slow.order[::2] == ["renew"] * 7
    assert slow.order[1::2] == ["ListThings", "GetThing", "GetThing"] * 2 + ["GetThing"]


def test_a_lease_is_renewed_before_every_call_that_explains_a_refusal():
    slow = Slow()
    roles = [
        Call(
            name,
            name,
            "iam",
            "CreateRole",
            {"RoleName": name, "AssumeRolePolicyDocument": {}, "PolicyName": name},
            "create",
            look=Look("GetRole"),
        )
        for name in ("a", "b")
    ]
    refusal = Fix("no", details={"message": "arn:aws:iam::1:role/a and arn:aws:iam::1:role/b"})
    outbound = SimpleNamespace(client=lambda *args, **more: slow)
    for role in roles:
        role.params["AssumeRolePolicyDocument"]["Statement"] = [{"Sid": role.key, "Effect": "Allow"}]
    explain(refusal, roles[0], roles, {}, outbound, slow.before)
    assert slow.order == ["renew", "GetRole"] * 2 and len(refusal.details["comparison"]) == 2


# -- what the database refuses


@pytest.mark.parametrize("error", [IntegrityError, DataError, ProgrammingError])
def test_what_the_database_would_refuse_for_ever_is_not_tried_for_ever(onboarding, amazon, monkeypatch, error):
    def refuse(*args):
        raise error("no")

    onboarding.approve(onboarding.until_asked())
    monkeypatch.setattr(CreateInstance, "note", refuse)
    step = onboarding.work("create-instance")
    assert (step.state, step.failure["what"]) == ("failed", "The portal made a mistake.")
    assert step.failure["code"] == error.__name__


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_database_out_of_reach_leaves_the_step_to_the_next_worker(onboarding, amazon, monkeypatch, settings, error):
    def refuse(*args):
        raise error("gone")

    onboarding.approve(onboarding.until_asked())
    with monkeypatch.context() as patched:
        patched.setattr(CreateInstance, "note", refuse)
        with pytest.raises(error):
            onboarding.work("create-instance")
    onboarding.clock.skip(settings.LEASE_SECONDS + 1)
    assert onboarding.work("create-instance").state == "done"
    assert amazon.calls["createInstance"] == 1


def cancelled_while_amazon_makes_it(onboarding, amazon) -> Instance:
    amazon.status = "IN_PROGRESS"
    onboarding.approve(onboarding.until_asked())
    assert onboarding.work("create-instance").state == "waiting"
    runs.run_cancel(person=onboarding.analyst, run=onboarding.run, now=onboarding.clock())
    amazon.status = "COMPLETED"
    return Instance.objects.get()


def test_the_name_of_what_amazon_has_made_is_taken_also_after_a_cancellation(onboarding, amazon):
    first = cancelled_while_amazon_makes_it(onboarding, amazon)
    assert (first.status, first.instance_id) == ("cancelled", "amc000000")
    assert "already has an instance" in name_taken(first.account, "acme us")
    # What was never made, or came to nothing in Amazon, is in nobody's way.
    for nothing in ({"creation_status": "FAILED"}, {"instance_id": ""}):
        with transaction.atomic():
            Instance.objects.update(**nothing)
            assert name_taken(first.account, "Acme US") == ""
            transaction.set_rollback(True)


def another(onboarding, name: str) -> Onboarding:
    run = runs.run_start(person=onboarding.analyst, account=onboarding.run.account, name=name, now=onboarding.clock())
    return Onboarding(run, onboarding.analyst, onboarding.approver, onboarding.clock)


def test_what_stands_in_the_portal_is_not_made_part_of_a_second_onboarding(onboarding, amazon):
    """Whoever was asked before the portal knew is told by the worker."""
    first = cancelled_while_amazon_makes_it(onboarding, amazon)
    Instance.objects.update(instance_id="")
    second = another(onboarding, "Acme US")
    request = second.until_asked()
    Instance.objects.filter(pk=first.pk).update(instance_id="amc000000")
    second.approve(request)
    step = second.work("create-instance")
    assert (step.state, step.failure["code"]) == ("failed", "Objection")
    assert "“Acme US” (amc000000)" in step.failure["what"] and "onboard it" in step.failure["what"]
    # Even if it is called otherwise here than in AMC, as after a change there.
    Instance.objects.filter(pk=first.pk).update(name="Renamed")
    runs.try_again(person=second.analyst, step=step, now=second.clock())
    step = second.work("create-instance")
    assert (step.state, step.failure["code"]) == ("failed", "StandsAlready")
    assert "“Renamed” (amc000000)" in step.failure["what"] and "onboard it" in step.failure["todo"]
    assert amazon.calls["createInstance"] == 1


def test_what_was_cancelled_while_amazon_made_it_is_onboarded_from_there(onboarding, amazon):
    first = cancelled_while_amazon_makes_it(onboarding, amazon)
    with pytest.raises(Refused, match="has not finished"):
        runs.run_adopt(person=onboarding.analyst, instance=first, now=onboarding.clock())
    Instance.objects.update(creation_status="COMPLETED")
    first.refresh_from_db()
    run = runs.run_adopt(person=onboarding.analyst, instance=first, now=onboarding.clock())
    again = Onboarding(run, onboarding.analyst, onboarding.approver, onboarding.clock)
    again.approve(again.until_asked())
    assert again.work("create-instance").state == "done"
    assert again.work("collaboration").state == "done"
    assert amazon.calls["createInstance"] == 1 and Instance.objects.count() == 1
