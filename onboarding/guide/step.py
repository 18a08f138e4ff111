"""What every step of the guide has in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from django import forms

from onboarding.guide.differences import Comparison, Sheet
from onboarding.guide.plan import MISSING, Call, Ref, Until, dig
from onboarding.models import AmcAccount, IdentityJob, Instance, Person, Run


@dataclass
class Situation:
    """All that a step knows: the run, what was answered so far and what earlier calls brought.

    `answers` is step key → question slug → cleaned values; `outputs` is step key → call key → output.
    """

    run: Run
    account: AmcAccount
    instance: Instance
    answers: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # What a step has read from the database, so that it is read once for all questions of a page.
    memo: dict[str, Any] = field(default_factory=dict)

    def answer(self, step: str, question: str, name: str, default: Any = None) -> Any:
        """One answered value, or `default`."""
        return self.answers.get(step, {}).get(question, {}).get(name, default)

    def output(self, step: str, call: str, path: str) -> Any:
        """An output of an earlier call if it is known already, else a reference to it."""
        found = dig(self.outputs.get(step, {}).get(call, MISSING), path)
        return Ref(step, call, path) if found is MISSING else found


class Question(forms.Form):
    """One page of a step's wizard: one decision, asked plainly.

    `situation` is what is known when the question is asked; `required_css_class` and layout come from the templates.
    """

    slug: ClassVar[str]
    heading: ClassVar[str]
    hint: ClassVar[str] = ""
    why: ClassVar[str] = ""
    # The questions whose answers are worth nothing once this one's is changed.
    forgets: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *args: Any, situation: Situation, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.situation = situation

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        """Whether the question is asked, given this step's answers so far."""
        return True

    @classmethod
    def pending(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> IdentityJob | None:
        """The work that has to be finished before the question can be answered; None if it can be answered now."""
        return None

    @classmethod
    def becomes(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
        """What the answer turns into: names and values shown quietly beside the question."""
        return []

    @classmethod
    def documents(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Any]]:
        """What the answer turns into as documents, by title: payloads and policies as they are sent."""
        return []

    @classmethod
    def losses(cls, situation: Situation) -> list[str]:
        """What is lost for good by going on, one sentence each, shown above the question."""
        return []

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        """The answer as label and value, for the review page."""
        return [
            (str(form_field.label or name), _words(answer.get(name), form_field))
            for name, form_field in cls.base_fields.items()
            if answer.get(name) not in (None, "", [])
        ]


def _words(value: Any, field: forms.Field) -> str:
    # What was picked is said as the question said it; where the choices depend on the run, by its value.
    choices = {str(key): str(label) for key, label in getattr(field, "choices", None) or () if isinstance(label, str)}
    if not isinstance(value, list) and str(value) in choices:
        return choices[str(value)]
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


class GuideStep:
    """A step of the vendor's guide: what is asked, what will be called, and what the answers of the calls mean."""

    key: ClassVar[str]
    title: ClassVar[str]
    stage: ClassVar[str]
    section: ClassVar[str]
    summary: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ()
    # An automatic step starts by itself as soon as what it needs is done.
    automatic: ClassVar[bool] = False
    # A step whose calls only read has nothing to sign off.
    reads_only: ClassVar[bool] = False
    # What can't be undone always has to be approved; no policy can take that away.
    irreversible: ClassVar[bool] = False
    usually: ClassVar[str] = ""
    undo: ClassVar[str] = ""
    button: ClassVar[str] = ""
    # Whether its questions can be answered before the steps before it are done, as a file may.
    early: ClassVar[bool] = True
    questions: ClassVar[tuple[type[Question], ...]] = ()
    # Where what its one call that waits looks at stands in each item of `listInstances`, and that call's `until`: then
    # one list can answer for many runs. None where it stands in no list.
    listed: ClassVar[tuple[str, Until] | None] = None

    def asked(self, situation: Situation) -> list[type[Question]]:
        """The questions that apply, in order, given the answers so far."""
        answers = situation.answers.get(self.key, {})
        return [question for question in self.questions if question.applies(situation, answers)]

    def applies(self, situation: Situation) -> bool:
        """Whether the run needs this step at all; one that it doesn't need is completed when its turn comes."""
        return True

    def plan(self, situation: Situation) -> list[Call]:
        """The calls of this step. Empty for a step that only records answers."""
        return []

    def full_plan(self, situation: Situation) -> list[Call]:
        """Every call of this step, whoever makes it: what the downloaded commands hold.

        The worker's own plan is a part of it where people act in AWS by themselves.
        """
        return self.plan(situation)

    def objection(self, situation: Situation) -> str:
        """Why the plan must not be carried out as things are now, or nothing; asked again by the worker."""
        return ""

    def foresee(self, situation: Situation) -> dict[str, str]:
        """Call key → "make", "adopt" or "none", as far as the portal knows without asking Amazon."""
        return {}

    def there(self, situation: Situation) -> dict[str, list[tuple[str, str]]]:
        """Call key → what the portal knows of the thing that is adopted, as labels and values."""
        return {}

    def unseen(self, situation: Situation) -> str:
        """What the portal can't see of what people do by themselves, in words; nothing where it can look."""
        return ""

    def act(self, situation: Situation) -> str:
        """The act in words, as the buttons and the request name it."""
        return self.button or self.title

    def explain(self, call: str, output: Any) -> dict[str, str]:
        """What a call that waits saw end badly, in better words: any of `what`, `who` and `todo` of the failure."""
        return {}

    def before(self, situation: Situation, call: str, now: datetime) -> None:
        """Claim in the database what a call is about to use up; called in the transaction that writes down its start.

        Raises `Fix` where it may not be made now: then it isn't.
        """

    def answered(self, situation: Situation, question: str, person: Person, now: datetime) -> list[IdentityJob]:
        """Begin the work that an answer makes possible; called in the answer's own transaction.

        Returns what has to be put on the queue.
        """
        return []

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        """Write what a call answered into the nouns (instance, members …); called in the call's own transaction.

        May raise Fix for an answer that is not as it has to be; the call is then not recorded.
        """

    def told(self, call: str, found: Any, differences: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """How the page tells where `found` is not as it has to be: each with `path`, `is` and `wanted`."""
        return differences

    def sheet(self, situation: Situation) -> Sheet | None:
        """What was read that people have to know when they decide: for review, to the approver, and afterwards."""
        return None

    def exhibits(self, situation: Situation) -> list[Comparison]:
        """What the calls have brought so far, laid out beside what has to be; shown with the step's progress."""
        return []


def changes_anything(calls: list[Call]) -> bool:
    """Whether any call of a plan changes something outside the portal, and therefore needs a sign-off."""
    return any(call.changes for call in calls)
