"""Lists, page by page: how many there are in the body, where the other pages are in `Link` (RFC 8288)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Generic, TypeVar

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from ninja import Query
from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")
PAGE_SIZE = 50
MOST = 200


class PageOf(BaseModel, Generic[T]):
    """One page of a list."""

    items: list[T]
    total: int = Field(description="How many there are on all pages.")


class Paging(BaseModel):
    """Which page."""

    model_config = ConfigDict(extra="ignore")

    page: int = Field(default=1, ge=1, le=1_000_000, description="From 1; a page after the last one is empty.")
    per_page: int = Field(default=PAGE_SIZE, ge=1, le=MOST, description="How many on a page.")


Page = Annotated[Paging, Query()]


def paged(
    request: HttpRequest,
    response: HttpResponse,
    rows: QuerySet[Any],
    paging: Paging,
    shown: Callable[[Any], T],
) -> PageOf[T]:
    """The page that was asked for (two queries), and its links on `response`."""
    total = rows.count()
    start = (paging.page - 1) * paging.per_page
    items: Iterable[Any] = rows[start : start + paging.per_page] if start < total else ()
    link(request, response, paging, total)
    return PageOf(items=[shown(row) for row in items], total=total)


def link(request: HttpRequest, response: HttpResponse, paging: Paging, total: int) -> None:
    """Put `first`, `prev`, `next` and `last` into the `Link` header."""
    last = max(1, -(-total // paging.per_page))
    pages = {"first": 1, "prev": min(paging.page - 1, last), "next": paging.page + 1, "last": last}
    if paging.page <= 1:
        del pages["prev"]
    if paging.page >= last:
        del pages["next"]
    response["Link"] = ", ".join(f'<{_address(request, number)}>; rel="{rel}"' for rel, number in pages.items())


def _address(request: HttpRequest, page: int) -> str:
    query = request.GET.copy()
    query["page"] = str(page)
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")
