"""Guide 3, "Access to AWS": who acts in the customer's AWS account, and that the portal's role there works."""

from __future__ import annotations

from django import forms

from onboarding.guide.plan import Call, Look
from onboarding.guide.step import GuideStep, Question, Situation

PORTAL, OURSELVES = "portal", "ourselves"


class WhoActs(Question):
    """The portal through its role, or the customer's own administrator with the downloaded commands."""

    slug = "who"
    heading = "Who acts in your AWS account?"
    hint = "The portal only does what an approver signed off, through a role that your AWS administrator makes for it."
    why = "Whoever may not hand over access runs the same steps as commands. The portal then checks the result."
    who = forms.ChoiceField(
        label="Who acts",
        choices=[
            (PORTAL, "The portal, through the role of the connected AWS account"),
            (OURSELVES, "Our own AWS administrator, with commands to download"),
        ],
        widget=forms.RadioSelect,
    )

    @classmethod
    def summary(cls, answer: dict[str, object]) -> list[tuple[str, str]]:  # type: ignore[override]
        return [("Who acts in AWS", "The portal" if answer.get("who") == PORTAL else "Our own administrator")]


def portal_acts(situation: Situation) -> bool:
    """Whether the portal acts in the primary AWS account of the run."""
    return bool(situation.answer(CheckAwsAccess.key, "who", "who") == PORTAL)


def primary_account(situation: Situation) -> str:
    """The AWS account that joins and receives the results, 12 digits."""
    return str(situation.answer("create-instance", "aws-account", "account_id") or situation.instance.aws_account_id)


class CheckAwsAccess(GuideStep):
    """Asks STS, through the connected role, who the portal is in the account."""

    key = "aws-access"
    title = "Check access to AWS"
    stage = "Join the collaboration"
    section = "Guide 3: Access to AWS"
    summary = "Who acts in your AWS account, and whether the portal's role there works."
    needs = ("create-instance",)
    reads_only = True
    usually = "a few seconds"
    questions = (WhoActs,)
    button = "Check access to AWS"
    undo = "Can be changed until the collaboration is joined."

    def plan(self, situation: Situation) -> list[Call]:
        return self.full_plan(situation) if portal_acts(situation) else []

    def full_plan(self, situation: Situation) -> list[Call]:
        account = primary_account(situation)
        return [
            Call(
                key="identity",
                title=f"Act in AWS account {account}",
                service="sts",
                operation="GetCallerIdentity",
                account=account,
                look=Look(
                    operation="GetCallerIdentity",
                    same={"Account": account},
                    differs="The connected role belongs to AWS account {found}.",
                ),
            )
        ]
