"""The portal's design system as template tags; docs/design-system.md lists them, /gallery/ shows them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from django import template
from django.core.paginator import Page
from django.forms import BaseForm, BaseFormSet, Field
from django.http import HttpRequest, QueryDict
from django.template.context import Context
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from onboarding.models import (
    AmcAccount,
    AmcConnection,
    AwsConnection,
    DatasetVersion,
    InstanceStatus,
    RequestState,
    RoleRequest,
    StepState,
)
from onboarding.selectors.queues import pauses_of
from onboarding.views.components import Chart, PlanEntry, Row, Stage, Tab, TaskGroup, Tile

register = template.Library()

# A status: how it looks. Only a problem is red.
LOOKS: dict[str, tuple[str, str]] = {
    InstanceStatus.IMPORTED: ("quiet", "circle"),
    InstanceStatus.DRAFT: ("quiet", "circle"),
    InstanceStatus.IN_PROGRESS: ("busy", "play"),
    InstanceStatus.YOUR_TURN: ("wait", "hand"),
    InstanceStatus.APPROVAL: ("wait", "clock"),
    InstanceStatus.AMAZON: ("amazon", "cloud"),
    InstanceStatus.RECONNECT: ("wait", "unplug"),
    InstanceStatus.PROBLEM: ("bad", "problem"),
    InstanceStatus.DONE: ("good", "done"),
    InstanceStatus.CANCELLED: ("quiet", "stop"),
    InstanceStatus.LEFT: ("quiet", "stop"),
    InstanceStatus.DELETED: ("quiet", "stop"),
    StepState.BLOCKED: ("quiet", "lock"),
    StepState.READY: ("open", "circle"),
    StepState.AWAITING_APPROVAL: ("wait", "clock"),
    StepState.QUEUED: ("busy", "queue"),
    StepState.RUNNING: ("busy", "play"),
    StepState.WAITING: ("amazon", "clock"),
    StepState.FAILED: ("bad", "problem"),
    RequestState.OPEN: ("wait", "clock"),
    RequestState.APPROVED: ("good", "done"),
    RequestState.SENT_BACK: ("wait", "undo"),
    RequestState.WITHDRAWN: ("quiet", "stop"),
    RequestState.VOID: ("quiet", "stop"),
    RequestState.EXPIRED: ("quiet", "clock"),
    AmcConnection.State.WORKING: ("good", "done"),
    AmcConnection.State.BROKEN: ("bad", "unplug"),
    AwsConnection.State.NEW: ("open", "circle"),
    DatasetVersion.State.CHOOSING: ("open", "circle"),
    DatasetVersion.State.CHECKED: ("open", "check"),
    DatasetVersion.State.PREPARING: ("busy", "play"),
    AwsConnection.State.DISABLED: ("quiet", "stop"),
    RoleRequest.State.GIVEN: ("good", "done"),
    RoleRequest.State.DECLINED: ("quiet", "stop"),
}
WORDS: dict[str, str] = {
    value: str(label)
    for choices in (
        RoleRequest.State,
        AwsConnection.State,
        AmcConnection.State,
        RequestState,
        StepState,
        InstanceStatus,
    )
    for value, label in choices.choices
}
WORDS[RequestState.OPEN] = RequestState.OPEN.label

NOTICES = {
    "info": "info",
    "success": "done",
    "warning": "warning",
    "error": "problem",
    "debug": "info",
}
# In a summary this sentence alone would not say which field it means.
REQUIRED = str(Field.default_error_messages["required"])
EFFECTS = {
    "make": ("Will be made", "plus"),
    "exists": ("Exists, used", "check"),
    "change": ("Will change", "change"),
    "same": ("No change", "minus"),
    "read": ("Will be read", "search"),
    "wait": ("Then wait", "clock"),
    "remove": ("Will be deleted", "trash"),
}


# Of what a list counts, where the singular is not the plural without its s.
SINGLE = {"entries": "entry", "people": "person"}


# --- small things


@register.simple_tag
@lru_cache(maxsize=256)
def icon(name: str, label: str = "") -> SafeString:
    """An icon of static/icons.svg; decoration unless it has a label."""
    described = format_html('role="img" aria-label="{}"', label) if label else mark_safe('aria-hidden="true"')  # nosec B308 - a literal
    return format_html(
        '<svg class="icon" {} focusable="false"><use href="{}#{}"/></svg>', described, static("icons.svg"), name
    )


@register.filter
def initials(person: object) -> str:
    """One or two capitals that stand for a name."""
    words = [word for word in str(person).replace("@", " ").split() if word[0].isalnum()]
    return "".join(word[0] for word in (words[:1] + words[-1:] if len(words) > 1 else words)).upper() or "?"


@register.filter
def duration(value: timedelta | float | None) -> str:
    """A length of time in words: "8 s", "12 min", "3 h 5 min", "2 days". Takes seconds or a timedelta."""
    if value is None:
        return ""
    seconds = int(value.total_seconds() if isinstance(value, timedelta) else value)
    sign, seconds = ("−", -seconds) if seconds < 0 else ("", seconds)
    if seconds < 60:
        return f"{sign}{seconds} s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 60:
        return f"{sign}{minutes} min"
    if hours < 24:
        rest = minutes % 60
        return f"{sign}{hours} h {rest} min" if rest and hours < 10 else f"{sign}{hours} h"
    return f"{sign}{days} day" if days == 1 else f"{sign}{days} days"


@register.simple_tag
def ago(moment: datetime | None, empty: str = "never") -> str:
    """How long ago, or in how long: `<time>` with the exact moment in UTC as its title."""
    if moment is None:
        return empty
    gap = round((timezone.now() - moment).total_seconds())
    if abs(gap) < 5:
        words = "just now"
    elif gap > 0:
        words = f"{duration(gap)} ago"
    else:
        words = f"in {duration(-gap)}"
    exact = moment.astimezone(timezone.get_default_timezone())
    # Numbers and words of ours only, fifty times on a list: nothing to escape.
    return SafeString(  # nosec B703 - numbers and words of ours
        f'<time datetime="{exact.isoformat(timespec="seconds")}" title="{exact:%-d %B %Y, %H:%M:%S} UTC">{words}</time>'
    )


@register.simple_tag
def moment(value: datetime | None, seconds: bool = False) -> str:
    """A point in time as `3 Nov 2026, 09:12`, with the exact moment as its title."""
    if value is None:
        return ""
    exact = value.astimezone(timezone.get_default_timezone())
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        exact.isoformat(timespec="seconds"),
        f"{exact:%-d %B %Y, %H:%M:%S} UTC",
        f"{exact:%-d %b %Y, %H:%M:%S}" if seconds else f"{exact:%-d %b %Y, %H:%M}",
    )


@register.simple_tag
@lru_cache(maxsize=256)
def status(value: str, text: str = "", large: bool = False) -> SafeString:
    """A status as icon and word. `value` of InstanceStatus, StepState, RequestState or a connection's state."""
    tone, picture = LOOKS.get(value, ("quiet", "circle"))
    return format_html(
        '<span class="status status-{}{}">{}<span>{}</span></span>',
        tone,
        " status-large" if large else "",
        icon(picture),
        text or WORDS.get(value, value),
    )


@register.simple_tag
@lru_cache(maxsize=256)
def progress(done: int, of: int, label: str = "") -> SafeString:
    """A bar with its numbers beside it: "8 of 13"."""
    return format_html(
        '<span class="progress-line"><progress class="bar" max="{}" value="{}" aria-label="{}"></progress>'
        '<span class="progress-text">{} of {}</span></span>',
        max(of, 1),
        done,
        label or "Steps done",
        done,
        of,
    )


@register.simple_tag
def copy(text: str, label: str = "Copy") -> SafeString:
    """A button that copies `text`; hidden where the browser can't."""
    return format_html(
        '<button type="button" class="btn btn-sm btn-copy" data-copy="{}" hidden>{}<span>{}</span></button>',
        text,
        icon("copy"),
        label,
    )


@register.filter
def pretty_json(value: Any) -> str:
    """A document as indented JSON; text that is JSON already is indented, other text is left as it is."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)
    return json.dumps(value, indent=2, ensure_ascii=False)


@register.filter
def split(value: str, separator: str) -> list[str]:
    """The parts of a text, for short lists written in a template."""
    return value.split(separator)


@register.filter
def account_number(value: str) -> str:
    """An AWS account id in the groups people read it in: 1234-5678-9000."""
    return f"{value[:4]}-{value[4:8]}-{value[8:]}" if len(value) == 12 and value.isdigit() else value


# --- page furniture


@register.simple_block_tag
def page_header(content: str, title: str, lead: str = "", status_value: str = "", status_text: str = "") -> SafeString:
    """The page's h1, a sentence, a status, and the content as actions at the right."""
    return format_html(
        '<header class="page-head"><div class="page-head-text"><h1>{}</h1>{}{}</div>{}</header>',
        title,
        format_html('<p class="page-head-status">{}</p>', status(status_value, status_text, large=True))
        if status_value
        else "",
        format_html('<p class="lead-line">{}</p>', lead) if lead else "",
        format_html('<div class="page-head-actions">{}</div>', content) if content.strip() else "",
    )


@register.simple_block_tag
def crumbs(content: str) -> SafeString:
    """The way back: `{% crumb %}` tags, from the top to the parent of this page."""
    return format_html('<nav class="crumbs" aria-label="Breadcrumb"><ol>{}</ol></nav>', content)


@register.simple_tag
def crumb(text: str, url_name: str, *args: Any) -> SafeString:
    """One step of `{% crumbs %}`: the text and the URL name with its arguments."""
    return format_html('<li><a href="{}">{}</a></li>', reverse(url_name, args=args), text)


@register.simple_block_tag
def card(content: str, title: str = "", hint: str = "", level: int = 2, pad: bool = True) -> SafeString:
    """A box with a heading. `pad=False` when it holds a table or a list that reaches its edges."""
    head: str | SafeString = ""
    if title:
        head = format_html(
            '<div class="box-head"><h{} class="box-title">{}</h{}>{}</div>',
            level,
            title,
            level,
            format_html('<p class="box-hint">{}</p>', hint) if hint else "",
        )
    return format_html(
        '<section class="box">{}<div class="{}">{}</div></section>', head, "box-body" if pad else "box-flush", content
    )


@register.simple_block_tag
def notice(content: str, tone: str = "info", title: str = "") -> SafeString:
    """A remark in a box: `info`, `success`, `warning` or `error`; the levels of Django's messages are taken too."""
    known = tone if tone in NOTICES else "info"
    return format_html(
        '<div class="notice notice-{}"{}>{}<div>{}{}</div></div>',
        known,
        mark_safe(' role="alert"') if known == "error" else "",  # nosec B308 - a literal
        icon(NOTICES[known]),
        format_html('<p class="notice-title">{}</p>', title) if title else "",
        content,
    )


@register.simple_block_tag
def empty_state(content: str, title: str, picture: str = "inbox", level: int = 2) -> SafeString:
    """What a list shows when there is nothing: why, and what to do; the content holds the sentence and the action."""
    return format_html(
        '<div class="empty-state"><span class="empty-icon">{}</span><h{} class="empty-title">{}</h{}>'
        '<div class="empty-text">{}</div></div>',
        icon(picture),
        level,
        title,
        level,
        content,
    )


@register.simple_block_tag
def disclosure(content: str, summary: str, open: bool = False) -> SafeString:
    """Details behind a line of text."""
    return format_html(
        '<details class="more"{}><summary>{}{}</summary><div class="more-body">{}</div></details>',
        mark_safe(" open") if open else "",  # nosec B308 - a literal
        icon("chevron-right"),
        summary,
        content,
    )


@register.inclusion_tag("ui/tabs.html")
def tabs(items: Sequence[Tab], label: str = "Sections") -> dict[str, Any]:
    """Tabs that are links."""
    return {"items": items, "label": label}


@register.inclusion_tag("ui/tiles.html")
def tiles(items: Sequence[Tile]) -> dict[str, Any]:
    """Big numbers side by side, each a link when it has an address."""
    return {"items": items}


@register.inclusion_tag("ui/paused.html", takes_context=True)
def paused_notice(context: Context, account: AmcAccount) -> dict[str, Any]:
    """Says that what the account's runs need is paused, by whom and why (one query); nothing when nothing is."""
    shell = context.get("shell")
    return {"pauses": pauses_of(account), "may_resume": bool(shell and shell.is_admin)}


@register.inclusion_tag("ui/chart.html")
def chart(chart: Chart, key: str, first: str = "Day") -> dict[str, Any]:
    """A chart, drawn by static/js/charts.js, and below it the same numbers as a table. `key` is its id on the page."""
    return {"chart": chart, "key": key, "first": first, "data": json.dumps(chart.data)}


@register.simple_tag
def bar(value: float, most: float, label: str = "") -> SafeString:
    """A bar beside a number that says the same: decoration, unless it has a label."""
    described = format_html('aria-label="{}"', label) if label else mark_safe('aria-hidden="true"')  # nosec B308 - a literal
    return format_html('<progress class="bar bar-wide" max="{}" value="{}" {}></progress>', most or 1, value, described)


# --- lists


@register.inclusion_tag("ui/task_list.html")
def task_list(groups: Iterable[TaskGroup]) -> dict[str, Any]:
    """Groups of tasks, each with its status, who did it and when."""
    return {"groups": groups}


@register.inclusion_tag("ui/summary_list.html")
def summary_list(rows: Iterable[Row]) -> dict[str, Any]:
    """Labels and values, with links to change them."""
    return {"rows": rows}


@register.inclusion_tag("ui/plan.html")
def plan(entries: Iterable[PlanEntry]) -> dict[str, Any]:
    """A plan of calls: what will be made, what exists and is used, what changes."""
    return {"entries": [(entry, *EFFECTS[entry.effect]) for entry in entries]}


@register.inclusion_tag("ui/timeline.html")
def timeline(stages: Iterable[Stage]) -> dict[str, Any]:
    """Stages in order, each with its state, time and length."""
    return {
        "stages": [
            (stage, *LOOKS.get(stage.state, ("quiet", "circle")), WORDS.get(stage.state, "")) for stage in stages
        ]
    }


@register.inclusion_tag("ui/live_log.html")
def live_log(lines: Iterable[Any], label: str = "Log") -> dict[str, Any]:
    """Log lines (`at`, `level`, `text`), oldest first."""
    return {"lines": lines, "label": label}


@register.inclusion_tag("ui/document.html")
def document(title: str, body: Any, open: bool = False) -> dict[str, Any]:
    """A JSON document, formatted, behind a disclosure, with a copy button."""
    return {"title": title, "body": pretty_json(body), "open": open}


@register.inclusion_tag("ui/code.html")
def code(text: str, label: str = "Commands", language: str = "") -> dict[str, Any]:
    """A block of code that scrolls sideways, with a copy button."""
    return {"text": text, "label": label, "language": language}


# --- tables


def _query(request: HttpRequest | None, **changes: str | int | None) -> str:
    query = request.GET.copy() if request else QueryDict(mutable=True)
    for key, value in changes.items():
        if value is None:
            query.pop(key, None)
        else:
            query[key] = str(value)
    return f"?{query.urlencode()}"


@register.simple_tag(takes_context=True)
def sort_header(context: Context, text: str, key: str, default: str = "", number: bool = False) -> SafeString:
    """A `<th>` whose link sorts by `key` (`?sort=key`, again `?sort=-key`). `default` is the order without `sort`."""
    request = context.get("request")
    now = (request.GET.get("sort") if request else "") or default
    order = "ascending" if now == key else "descending" if now == f"-{key}" else ""
    picture = {"ascending": "chevron-up", "descending": "chevron-down", "": "sort"}[order]
    return format_html(
        '<th scope="col"{}{}><a class="sort" href="{}">{}{}</a></th>',
        mark_safe(' class="number"') if number else "",  # nosec B308 - a literal
        format_html(' aria-sort="{}"', order) if order else "",
        _query(request, sort=f"-{key}" if order == "ascending" else key, page=None),
        text,
        icon(picture),
    )


@register.inclusion_tag("ui/pagination.html", takes_context=True)
def pagination(context: Context, page: Page[Any], noun: str = "rows", csv: str = "") -> dict[str, Any]:
    """ "51 to 100 of 4,000 instances" with links to the other pages (and the address of all of them as a file)."""
    request = context.get("request")
    numbers = [
        (number, _query(request, page=number) if isinstance(number, int) else "")
        for number in page.paginator.get_elided_page_range(page.number, on_each_side=1, on_ends=1)
    ]
    return {
        "page": page,
        "csv": csv,
        "noun": noun if page.paginator.count != 1 else SINGLE.get(noun, noun.removesuffix("s")),
        "numbers": numbers,
        "previous": _query(request, page=page.number - 1) if page.has_previous() else "",
        "next": _query(request, page=page.number + 1) if page.has_next() else "",
    }


@register.inclusion_tag("ui/filter_bar.html", takes_context=True)
def filter_bar(context: Context, form: BaseForm, button: str = "Filter") -> dict[str, Any]:
    """A GET form in one line above a table; keeps the order, offers to clear what is set."""
    request = context.get("request")
    fields = {field.html_name for field in form}
    return {
        "form": form,
        "button": button,
        "path": request.path if request else "",
        "sort": request.GET.get("sort", "") if request else "",
        "set": any(request.GET.get(name) for name in fields) if request else False,
    }


# --- forms


@register.inclusion_tag("ui/error_summary.html")
def error_summary(*forms: BaseForm | BaseFormSet[Any]) -> dict[str, Any]:
    """Every error of the forms, each a link to its field; takes the focus. Nothing when there are none."""
    found: list[tuple[str, str]] = []
    for form in forms:
        if isinstance(form, BaseFormSet):
            if form.is_bound:
                found += [("", str(message)) for message in form.non_form_errors()]
                for part in form.forms:
                    found += _errors_of(part)
        elif form.is_bound:
            found += _errors_of(form)
    return {"errors": found}


def _errors_of(form: BaseForm) -> list[tuple[str, str]]:
    found = [("", str(message)) for message in form.non_field_errors()]
    for name in form.errors:
        if name in form.fields:
            field = form[name]
            # A group of radios or checkboxes has no control with the field's own id: link to its first one.
            first = f"{field.auto_id}_0" if field.field.widget.use_fieldset else field.id_for_label or field.auto_id
            texts = [str(text) for text in field.errors]
            found += [
                (first, format_html("{} – {}", field.label, text) if text == REQUIRED else text) for text in texts
            ]
    return found


@register.inclusion_tag("ui/failure.html", takes_context=True)
def failure(
    context: Context, failure: Any, retry_url: str = "", retry_text: str = "Try again from here", level: int = 2
) -> dict[str, Any]:
    """A failure (a dict as `RemoteFailure.as_dict()` makes it): what, why, who can fix it, what to do, details.

    Of the details, `documents` (title, body) and `comparison` (see `engine.explain`) are shown openly.
    """
    details = dict(failure["details"]) if isinstance(failure, dict) and failure.get("details") else {}
    documents, comparison = details.pop("documents", []), details.pop("comparison", [])
    details.pop("differences", None)  # tables of the page itself
    return {
        "documents": documents,
        "comparison": [_compared(row) for row in comparison],
        "failure": failure,
        "retry_url": retry_url,
        "retry_text": retry_text,
        "level": level,
        "csrf_token": context.get("csrf_token"),
        "details_json": pretty_json(details) if details else "",
    }


def _compared(row: dict[str, Any]) -> dict[str, Any]:
    """A statement that is required against the one that is there, with what that means in words."""
    if row["same"]:
        words = "as required"
    elif row["actual"] is not None:
        words = "different"
    else:
        words = "missing" if row["read"] else "could not be read"
    return {
        "name": f"{row['policy']}: {row['statement']}" if row["statement"] else row["policy"],
        "words": words,
        "same": row["same"],
        "required": pretty_json(row["required"]),
        "actual": pretty_json(row["actual"]) if row["actual"] is not None else "",
    }


# --- live parts


@register.simple_tag
def poll(url: str, seconds: float | None) -> SafeString:
    """Attributes of an element that replaces itself from `url` after `seconds`; none at a final state (None).

    The element needs an id; the answer is the same element, with the next delay, which the server picks.
    """
    if seconds is None:
        return mark_safe("")  # nosec B308 - a literal
    return format_html(
        'hx-get="{}" hx-trigger="load delay:{}s, poll-again" hx-swap="outerHTML" data-poll="{}"',
        url,
        f"{seconds:g}",
        f"{seconds:g}",
    )


@register.simple_tag
def speak(text: str) -> SafeString:
    """Part of an htmx answer: says `text` to a screen reader through the page's one status region."""
    return format_html('<div id="live" hx-swap-oob="innerHTML">{}</div>', text)


@register.simple_tag
def join_words(words: Iterable[object], last: str = "and") -> SafeString:
    """ "a, b and c"."""
    items = list(words)
    if len(items) < 2:
        return format_html_join("", "{}", ((item,) for item in items))
    return format_html("{} {} {}", format_html_join(", ", "{}", ((item,) for item in items[:-1])), last, items[-1])
