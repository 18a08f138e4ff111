"""No value that Athena answers leaves the client, whichever way it was asked."""

import pytest

from onboarding.clients.aws import AwsClient
from onboarding.models import AwsConnection

ANSWER = {
    "ResultSet": {
        "ResultSetMetadata": {"ColumnInfo": [{"Name": "email", "Type": "varchar"}]},
        "Rows": [{"Data": [{"VarCharValue": "email"}]}, {"Data": [{"VarCharValue": "ann@example.com"}]}],
    }
}


class Service:
    """An Athena that has one page of results."""

    def get_query_results(self, **params):
        return ANSWER

    def can_paginate(self, name):
        return name == "get_query_results"

    def get_paginator(self, name):
        return self

    def paginate(self, **params):
        yield ANSWER


@pytest.fixture
def client(monkeypatch) -> AwsClient:
    monkeypatch.setattr(AwsClient, "_of_service", lambda self: Service())
    return AwsClient(AwsConnection(aws_account_id="111122223333"), "athena")


def test_results_are_counted(client):
    found = client.call("GetQueryResults", {"QueryExecutionId": "q"})
    assert found == {"columns": [{"Name": "email", "Type": "varchar"}], "rows": 1}


def test_pages_hold_no_values_either(client):
    assert list(client.pages("GetQueryResults", {"QueryExecutionId": "q"}, "columns")) == [
        {"Name": "email", "Type": "varchar"}
    ]
    assert list(client.pages("GetQueryResults", {"QueryExecutionId": "q"}, "ResultSet")) == []
