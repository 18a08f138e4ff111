"""Whether a step may do what its plan says, asked again by the worker just before it begins."""

from __future__ import annotations

from onboarding.clients.failures import Fix
from onboarding.guide.plan import Call, digest
from onboarding.guide.procedure import step_of
from onboarding.guide.step import changes_anything
from onboarding.models import AccountPolicy, Decision, RequestState, Step

MAY_ASK = ("analyst", "admin")
_AGAIN = "Open the step, check the answers and ask for approval again."


def approvers_needed(step: Step, calls: list[Call], policy: AccountPolicy) -> int:
    """How many people have to approve this plan: none if it changes nothing, else what the account's policy says.

    What deletes always needs somebody else, whatever the policy says of its step.
    """
    if any(call.effect == "delete" for call in calls):
        return max(1, policy.approvers_needed_to_delete)
    if not changes_anything(calls) or step.key in policy.steps_without_approval:
        return 0
    return policy.approvers_needed


def check_authority(step: Step, calls: list[Call]) -> None:
    """Raise Fix unless the asker still may ask and enough people, who still may approve, approved exactly this plan."""
    account = step.run.account
    guide_step = step_of(step.run.procedure, step.key)
    if digest(step.plan) != step.digest:
        raise Fix("The plan is not the one that was submitted.", who="Analyst", todo=_AGAIN, code="PlanChanged")
    if guide_step.automatic:
        if changes_anything(calls):
            raise Fix("A step that starts by itself may not change anything.", who="Admin", code="NotApproved")
        return
    if step.asked_by is None or not step.asked_by.has_role(account, *MAY_ASK):
        raise Fix(
            f"{step.asked_by or 'Whoever asked for this'} no longer has a role on {account} that allows it.",
            why="The role was taken away after the request was made.",
            who="Admin",
            todo="Give the role back, or have somebody else open the step and ask for approval again.",
            code="RoleTaken",
        )
    needed = approvers_needed(step, calls, AccountPolicy.of(account))
    if not needed:
        return
    decisions = Decision.objects.filter(
        request__step=step,
        request__state=RequestState.APPROVED,
        request__digest=step.digest,
        digest=step.digest,
        approved=True,
    ).exclude(person=step.asked_by)
    valid = {
        decision.person_id
        for decision in decisions.select_related("person")
        if decision.person.has_role(account, "approver")
    }
    if len(valid) < needed:
        raise Fix(
            "Nobody who may approve it has approved exactly this."
            if not valid
            else f"Only {len(valid)} of the {needed} approvals that are needed still count.",
            why="An approval ends when the answers change, or when the approver's role is taken away.",
            who="Analyst",
            todo=_AGAIN,
            code="NotApproved",
        )
