"""The results of queries (workflow executions), as far as they end soon: when they can no longer be fetched."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Query, Router
from pydantic import BaseModel, Field

from onboarding.api.auth import caller
from onboarding.api.paging import Page, PageOf, paged
from onboarding.api.words import SearchText
from onboarding.models import AmcAccount, QueryResult
from onboarding.models.results import AHEAD
from onboarding.selectors import results as selector

router = Router(tags=["results"])


class ResultOut(BaseModel):
    """The results of one query, and until when they can be fetched."""

    instance: int = Field(description="The portal's number of the instance.")
    workflow_id: str
    workflow_execution_id: str
    created_at: datetime
    ends_at: datetime = Field(description="Until when the results can be fetched: 90 days after they were asked for.")

    @classmethod
    def of(cls, row: QueryResult) -> ResultOut:
        """The row."""
        return cls(
            instance=row.instance_id,
            workflow_id=row.workflow_id,
            workflow_execution_id=row.execution_id,
            created_at=row.created_at,
            ends_at=row.ends_at,
        )


class FindResults(BaseModel):
    """Which results."""

    q: SearchText = Field(default="", description="In the instance's name or AMC id, or the workflow.")
    days: int | None = Field(default=None, ge=1, le=AHEAD.days, description="What ends within so many days.")
    instance: int | None = Field(default=None, ge=1, le=2**63 - 1, description="The portal's number of the instance.")


@router.get("", response=PageOf[ResultOut], url_name="results", summary="List results that end soon")
def list_results(
    request: HttpRequest, response: HttpResponse, find: Annotated[FindResults, Query()], paging: Page
) -> PageOf[ResultOut]:
    """The results of queries that end soon, or next, of the instances of your accounts; read once a night."""
    accounts = AmcAccount.objects.visible_to(caller(request)).values_list("pk", flat=True)
    wanted = selector.ResultQuery(q=find.q, days=find.days or 0, instance=str(find.instance or ""))
    rows = selector.matching(wanted, accounts=list(accounts), now=timezone.now())
    return paged(request, response, rows, paging, ResultOut.of)
