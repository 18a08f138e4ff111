"""Onboarding from a YAML file: the same questions, checks, roles and engine as the browser.

A file names the account and answers the questions of the steps:

    account: ENTITYHARBOURPINE      # the AMC account id, or its name in the portal
    marketplace: ATVPDKIKX0DER        # only if the account is there for several marketplaces
    steps:
      create-instance:                # a step's key
        name:                         # a question's name
          name: Acme US               # a field of it
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import yaml
from django import forms
from django.db import transaction

from onboarding.engine.authority import MAY_ASK
from onboarding.engine.situations import situation_of
from onboarding.guide import plan as plans
from onboarding.guide.identity_work import OPEN
from onboarding.guide.procedure import PROCEDURES, step_of
from onboarding.guide.step import GuideStep, Question, Situation
from onboarding.models import AmcAccount, Person, Request, Run, Step, StepState, locked
from onboarding.services import identity_files, runs
from onboarding.services.errors import Refused

_YES = {"yes", "true", "on"}
_NO = {"no", "false", "off", ""}


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file, in which line (from 1), and at which names from the top as far as they are known."""

    line: int
    text: str
    path: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


class FileProblems(Exception):
    """Everything that is wrong with a file, in the order of its lines."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = sorted(problems, key=lambda problem: problem.line)


@dataclass
class OnboardingFile:
    """A file that was read: the account, and step → question → field → text, with the line of each.

    `problems` is what of it could not be understood; the rest is here all the same.
    """

    account: str = ""
    marketplace: str = ""
    steps: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    lines: dict[tuple[str, ...], int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, *path: str) -> int:
        """The line of what stands at `path`, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


class _Reader:
    def __init__(self) -> None:
        self.lines: dict[tuple[str, ...], int] = {}
        self.problems: list[Problem] = []

    def problem(self, node: yaml.Node, text: str, path: tuple[str, ...]) -> None:
        self.problems.append(Problem(node.start_mark.line + 1, text, path))

    def mapping(self, node: yaml.Node | None, path: tuple[str, ...], what: str) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            if node is None:
                self.problems.append(Problem(1, "the file is empty"))
            else:
                self.problem(node, f"{what} must be names with values", path)
            return {}
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                kind = "a list" if isinstance(key, yaml.SequenceNode) else "names with values"
                self.problem(key, f"one word must stand before the colon here, not {kind}", path)
                continue
            name = str(key.value)
            if name in found:
                self.problem(key, f"“{name}” stands here twice", (*path, name))
            found[name] = value
            self.lines[(*path, name)] = key.start_mark.line + 1
        return found

    def text(self, node: yaml.Node, path: tuple[str, ...]) -> str:
        if not isinstance(node, yaml.ScalarNode):
            self.problem(node, f"“{path[-1]}” must be one value", path)
            return ""
        # The text as it was written: an account id may begin with a zero, and yes stays a word.
        return "" if node.tag == "tag:yaml.org,2002:null" else str(node.value)

    def known(self, path: tuple[str, ...], names: list[str], what: str) -> bool:
        name = path[-1]
        if name in names:
            return True
        close = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean “{close[0]}”?" if close else f"; there are {', '.join(names)}"
        self.problems.append(Problem(self.lines[path], f"there is no {what} “{name}”{hint}", path))
        return False


def read(text: str, procedure: str = "onboard") -> OnboardingFile:
    """Read a file's text. Raises FileProblems naming every line that can't be understood."""
    file = understood(text, procedure)
    if file.problems:
        raise FileProblems(file.problems)
    return file


def understood(text: str, procedure: str = "onboard") -> OnboardingFile:
    """What of a file's text can be understood; what can't is among its problems, for whoever looks at the rest."""
    reader = _Reader()
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        return OnboardingFile(problems=[Problem(line, f"this is not YAML: {error.problem}")])
    except yaml.YAMLError:
        return OnboardingFile(problems=[Problem(1, "this is not YAML: it holds characters that may not be in it")])
    except RecursionError:
        return OnboardingFile(problems=[Problem(1, "this is not such a file: it is nested too deeply")])
    top = reader.mapping(root, (), "the file")
    for name in top:
        reader.known((name,), ["account", "marketplace", "steps"], "entry")
    account = reader.text(top["account"], ("account",)) if "account" in top else ""
    if top and not account and not any(problem.path == ("account",) for problem in reader.problems):
        line = reader.lines.get(("account",), 1)
        reader.problems.append(Problem(line, "“account” is missing: the AMC account id or name", ("account",)))
    marketplace = reader.text(top["marketplace"], ("marketplace",)) if "marketplace" in top else ""
    known_steps = {step.key: step for step in PROCEDURES[procedure]}
    steps: dict[str, dict[str, dict[str, str]]] = {}
    for step_key, step_node in reader.mapping(top["steps"], ("steps",), "steps").items() if "steps" in top else ():
        path = ("steps", step_key)
        if reader.known(path, list(known_steps), "step"):
            steps[step_key] = _step(reader, known_steps[step_key], step_node, path)
    return OnboardingFile(account, marketplace, steps, reader.lines, reader.problems)


def _step(reader: _Reader, step: GuideStep, node: yaml.Node, path: tuple[str, ...]) -> dict[str, dict[str, str]]:
    questions = {question.slug: question for question in step.questions}
    answers: dict[str, dict[str, str]] = {}
    for slug, question_node in reader.mapping(node, path, f"the step “{step.key}”").items():
        if not reader.known((*path, slug), list(questions), f"question of {step.key} called"):
            continue
        names = list(questions[slug].base_fields)
        answers[slug] = {}
        for name, value in reader.mapping(question_node, (*path, slug), f"“{slug}”").items():
            if reader.known((*path, slug, name), names, f"field of {slug} called"):
                answers[slug][name] = reader.text(value, (*path, slug, name))
                if isinstance(questions[slug].base_fields[name], forms.BooleanField):
                    word = answers[slug][name].lower()
                    if word not in _YES | _NO:
                        reader.problem(value, f"“{name}” must be yes or no", (*path, slug, name))
    return answers


def posted(fields: Mapping[str, forms.Field], answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer as a browser would post it to a form with these fields: yes and no as the field has them.

    `answer` is name → text, number, yes-or-no or a list of texts; what is empty is left out.
    """
    data: dict[str, Any] = {}
    for name, value in answer.items():
        if value is None or value == "" or name not in fields:
            continue
        if isinstance(value, list):
            data[name] = [str(one) for one in value]
            continue
        text = ("yes" if value else "no") if isinstance(value, bool) else str(value)
        if isinstance(fields[name], forms.BooleanField):
            text = "on" if text.lower() in _YES else ""
        elif isinstance(fields[name], forms.TypedChoiceField) and text.lower() in _YES | _NO:
            text = "yes" if text.lower() in _YES else "no"
        if text:
            data[name] = text
    return data


def _form(question: type[Question], answer: Mapping[str, str], situation: Situation) -> Question:
    return question(posted(question.base_fields, answer), situation=situation)


def account_of(file: OnboardingFile, person: Person) -> AmcAccount:
    """The account that the file names, among those the person may onboard for.

    Raises FileProblems, with what else of the file could not be understood: nothing more can be looked at without it.
    """
    if not file.account and file.problems:
        raise FileProblems(file.problems)
    mine = AmcAccount.objects.with_role(person, *MAY_ASK)
    found = list(mine.filter(entity_id=file.account) or mine.filter(name=file.account))
    if file.marketplace:
        found = [account for account in found if account.marketplace_id == file.marketplace]
    if len(found) == 1:
        return found[0]
    text = "the account has several marketplaces: add “marketplace”"
    if not found:
        text = f"{person} has no AMC account “{file.account}” to onboard for"
    raise FileProblems([*file.problems, Problem(file.line("account"), text, ("account",))])


def onboard(file: OnboardingFile, *, person: Person, now: datetime) -> Run:
    """Start the run that the file describes, or go on with the open one of the same name, and keep all its answers.

    All or nothing. Raises FileProblems with all that is wrong at once: what is not understood, and every answer above
    it that a form refuses; services' Refused for anything else.
    """
    account = account_of(file, person)
    named = ("steps", "create-instance", "name", "name")
    name = file.steps.get("create-instance", {}).get("name", {}).get("name", "")
    problems = [] if name else [Problem(file.line(*named), "the instance has no name", named)]
    with transaction.atomic():
        # The same file twice at once is one run: whoever comes second goes on with it.
        locked(AmcAccount).get(pk=account.pk)
        run = (
            Run.objects.filter(account=account, procedure="onboard", instance__name=name, ended_at=None, owner=person)
            .select_related("account", "instance")
            .first()
        )
        if run is None:
            run = runs.run_of_new(person=person, account=account, name=name, now=now)
        try:
            _answer_all(file, run, person, now, again=True)
        except FileProblems as error:
            problems += [problem for problem in error.problems if name or problem.path != named]
        problems = [problem for problem in problems if not _follows(file, problem)] + file.problems
        if problems:
            raise FileProblems(problems)
    return run


def _follows(file: OnboardingFile, problem: Problem) -> bool:
    """Whether it may be wrong only because of what is not understood: an answer below, or a missing one beside it."""
    lacking = next((path for path in _ways_to(problem.path) if path not in file.lines), ())
    return any(
        unclear.line <= problem.line or (lacking and unclear.path[:-1] == lacking[:-1]) for unclear in file.problems
    )


def _ways_to(path: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [path[: count + 1] for count in range(len(path))]


def check(file: OnboardingFile, *, person: Person, now: datetime) -> None:
    """Look at all that `onboard` would look at, and keep nothing. Raises what it raises."""
    with transaction.atomic():
        onboard(file, person=person, now=now)
        transaction.set_rollback(True)


def go_on(file: OnboardingFile, run: Run, *, person: Person, now: datetime) -> bool:
    """Answer what can be answered by now; True while a question waits for work on files. Raises FileProblems."""
    with transaction.atomic():
        return _answer_all(file, run, person, now, again=False)


def _answer_all(file: OnboardingFile, run: Run, person: Person, now: datetime, *, again: bool) -> bool:
    problems: list[Problem] = []
    waits = False
    for step in run.steps.select_related("run__account", "run__instance").order_by("position"):
        # A step that the file does not mention is answered in the browser, when its turn comes.
        early = step.state != StepState.BLOCKED or step_of(run.procedure, step.key).early
        if step.key in file.steps and step.state in runs.OPEN_STATES and early:
            found, waiting = _answer(file, step, person, now, again=again)
            problems += found
            waits = waits or waiting
    if problems:
        raise FileProblems(problems)
    return waits


def _answer(
    file: OnboardingFile, step: Step, person: Person, now: datetime, *, again: bool
) -> tuple[list[Problem], bool]:
    """What is wrong with the file's answers, and whether one has to wait for work on files.

    `again`: work that has failed is asked for once more, such as after the files were corrected.
    """
    problems: list[Problem] = []
    answers = file.steps.get(step.key, {})
    guide_step = step_of(step.run.procedure, step.key)
    for question in guide_step.questions:
        situation = situation_of(step.run)
        if question not in guide_step.asked(situation):
            continue
        path = ("steps", step.key, question.slug)
        work = question.pending(situation, situation.answers.get(step.key, {}))
        if work is not None and work.state not in OPEN and not again:
            failure = work.failure or {"what": "The work on the files was cancelled.", "todo": "Ask for it again."}
            return [*problems, Problem(file.line(*path), f"{failure['what']} {failure['todo']}", path)], False
        if work is not None:
            if work.state not in OPEN:
                identity_files.again(person=person, step=step, kind=work.kind, now=now)
            return problems, True
        form = _form(question, answers.get(question.slug, {}), situation)
        if form.is_valid():
            runs.answer_save(person=person, step=step, form=form, now=now)
            continue
        for name, errors in form.errors.items():
            label = name if name != "__all__" else question.slug
            where = path if name == "__all__" else (*path, name)
            problems += [Problem(file.line(*path, name), f"{label}: {error}", where) for error in errors]
    return problems, False


def submit_ready(run: Run, *, person: Person, now: datetime) -> list[tuple[Step, Request | None]]:
    """Submit every step of the run that waits for its asker and has all its answers; returns what was submitted."""
    submitted = []
    for step in run.steps.select_related("run__account", "run__instance").filter(state=StepState.READY):
        situation = situation_of(step.run)
        if runs.open_questions(step, situation):
            continue
        # Sent back by a person: that wants an answer by a person, not the same thing again.
        if step.requests.filter(state="sent_back", digest=_digest(step, situation)).exists():
            raise Refused(f"“{step_of(run.procedure, step.key).title}” was sent back. Change the file, then try again.")
        submitted.append((step, runs.submit(person=person, step=step, now=now)))
    return submitted


def _digest(step: Step, situation: Situation) -> str:
    return plans.digest(plans.dump(step_of(step.run.procedure, step.key).plan(situation)))
