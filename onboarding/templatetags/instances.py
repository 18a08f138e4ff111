"""The rows of the list of instances: drawn here and not by a template, which takes three times as long."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString

from onboarding.models import InstanceStatus
from onboarding.selectors.instances import InstanceRow
from onboarding.templatetags.ui import ago, progress, status

register = template.Library()


@register.simple_tag
def instance_rows(rows: Iterable[InstanceRow], accounts: Mapping[int, str], owners: Mapping[int, str]) -> SafeString:
    """A `<tr>` for each row; names of accounts and owners by key. With one account its column is left out."""
    wide = len(accounts) > 1
    return SafeString("".join(_row(row, accounts.get(row.account_id, "") if wide else None, owners) for row in rows))  # nosec B703 - every part is escaped where it is made


def _row(row: InstanceRow, account: str | None, owners: Mapping[int, str]) -> str:
    number = f'<span class="cell-hint mono">{escape(row.instance_id)}</span>' if row.instance_id else ""
    detail = ""
    if row.status_detail and row.status != InstanceStatus.DONE:
        detail = f'<span class="cell-hint">{escape(row.status_detail)}</span>'
    owner = escape(owners.get(row.owner_id, "")) if row.owner_id else ""
    return (
        f'<tr><th scope="row"><a href="/instances/{row.pk:d}/">{escape(row.name)}</a>{number}</th>'
        + (f'<td data-label="AMC account">{escape(account)}</td>' if account is not None else "")
        + f'<td data-label="Status"><span>{status(row.status)}{detail}</span></td>'
        f'<td data-label="Who acts next">{escape(row.waiting_on)}</td>'
        f'<td data-label="Steps">{progress(row.steps_done, row.steps_all) if row.steps_all else ""}</td>'
        f'<td data-label="Owner">{owner}</td>'
        f'<td data-label="Since">{ago(row.status_since)}</td></tr>'
    )
