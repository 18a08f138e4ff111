"""Numbers of mapping jobs in words."""

from __future__ import annotations

from django import template

register = template.Library()


@register.filter
def percent(share: float | None) -> str:
    """A share of 0 to 1 as "61.3%"."""
    return "" if share is None else f"{share:.1%}"


@register.filter
def grouped(number: int | None) -> str:
    """A whole number with its thousands apart: "1,234,567"."""
    return "" if number is None else f"{number:,}"


@register.filter
def places(number: float) -> str:
    """A number for a picture: two places, a dot whatever the language."""
    return f"{number:.2f}"
