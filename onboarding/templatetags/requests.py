"""The rows of the list of requests: drawn here and not by a template, like those of instances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString

from onboarding.models import RequestState
from onboarding.selectors.requests import RequestRow
from onboarding.templatetags.ui import ago, status

register = template.Library()
# A request that waits longer than this is marked.
LONG_WAIT = timedelta(days=2)


@register.simple_tag
def request_rows(rows: Iterable[RequestRow], accounts: Mapping[int, str], now: datetime) -> SafeString:
    """A `<tr>` for each row; names of accounts by key."""
    return SafeString("".join(_row(row, accounts.get(row.account_id, ""), now) for row in rows))  # nosec B703 - every part is escaped where it is made


def _row(row: RequestRow, account: str, now: datetime) -> str:
    hints = ""
    if row.state == RequestState.OPEN:
        if now - row.asked_at > LONG_WAIT:
            hints = '<span class="cell-hint long-wait">Waits long</span>'
        hints += f'<span class="cell-hint">expires {ago(row.expires_at)}</span>'
    return (
        f'<tr><th scope="row"><a href="/requests/{row.pk:d}/">{escape(row.title)}</a>'
        f'<span class="cell-hint">{escape(row.instance)}</span></th>'
        f'<td data-label="AMC account">{escape(account)}</td>'
        f'<td data-label="Asked by">{escape(row.asked_by)}</td>'
        f'<td data-label="Asked"><span>{ago(row.asked_at)}{hints}</span></td>'
        f'<td data-label="Approvals">{row.approved:d} of {row.approvers_needed:d}</td>'
        f'<td data-label="Status">{status(row.state)}</td></tr>'
    )
