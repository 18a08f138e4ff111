"""AWS connections on the local Amazon: the portal has an identity of its own there, as it has at AWS."""

from __future__ import annotations

import pytest

from onboarding.clients import aws
from onboarding.models import AwsConnection
from tests.aws_roles import PORTAL_ACCOUNT, PORTAL_PRINCIPAL, make_portal_roles
from tests.join.conftest import joining
from tests.simulated import amazon, connected, somebody

__all__ = ["amazon", "connected", "joining"]
CUSTOMER = "555566667777"


@pytest.fixture
def portal_itself(monkeypatch, settings, amazon):
    """The portal's own AWS identity, and the local Amazon as AWS."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", PORTAL_ACCOUNT)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    settings.AWS_ENDPOINT_URL = amazon.url
    settings.PORTAL_AWS_PRINCIPAL = PORTAL_PRINCIPAL
    aws._boto.cache_clear()
    aws.forget_sessions()
    yield
    aws.forget_sessions()
    aws._boto.cache_clear()


@pytest.fixture
def connection(connected, portal_itself) -> AwsConnection:
    """An AWS account that was added and not connected yet."""
    return AwsConnection.objects.create(account=connected, aws_account_id=CUSTOMER, label="Paper Boat AWS")


@pytest.fixture
def with_roles(connection, amazon) -> AwsConnection:
    """The same once its template was run and the ARNs were pasted."""
    made = make_portal_roles(amazon.url, CUSTOMER, connection.external_id)
    connection.provisioner_role_arn, connection.reader_role_arn = made
    connection.save()
    return connection


@pytest.fixture
def account_admin(connected):
    """An admin of the AMC account."""
    return somebody("Ada", connected, "admin")
