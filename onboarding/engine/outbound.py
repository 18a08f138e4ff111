"""Sends a plan's calls to the client that speaks the service's language."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from onboarding.clients.amc import AmcClient
from onboarding.clients.aws import AwsClient
from onboarding.engine import aws_health
from onboarding.engine.identity_client import IdentityClient
from onboarding.guide.plan import PlanError
from onboarding.models import Run

AWS_SERVICES = frozenset({"athena", "cleanrooms", "entityresolution", "glue", "iam", "lakeformation", "s3", "sts"})


class Client(Protocol):
    """What the engine needs of a client. Both raise only the three kinds of `onboarding.clients.failures`."""

    def call(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Make one call and return its answer."""
        ...

    def pages(
        self, operation: str, params: Mapping[str, Any], items: str, before: Callable[[], None] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the items of a list operation, page after page; `before` is called ahead of each page's call."""
        ...


class Outbound:
    """The clients of one run, made when first needed."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._clients: dict[tuple[str, str, bool], Client] = {}

    def client(self, service: str, aws_account: str = "", *, reading: bool = False) -> Client:
        """The client of `service` in an AWS account (empty for AMC).

        For `reading`, it has the read-only role of the account if there is one.

        Raises PlanError for an unknown service, Reconnect for an AWS account that is not connected.
        """
        key = (service, aws_account, reading)
        if key not in self._clients:
            if service == "amc":
                self._clients[key] = AmcClient(self._run.account.connection, self._run.account, str(self._run.pk))
            elif service == "identity":
                self._clients[key] = IdentityClient(self._run, aws_account)
            elif service in AWS_SERVICES:
                self._clients[key] = AwsClient(
                    aws_health.working(self._run.account, aws_account),
                    service,
                    session_name=str(self._run.pk),
                    reading=reading,
                )
            else:
                raise PlanError(f"there is no client for {service}")
        return self._clients[key]
