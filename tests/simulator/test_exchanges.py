"""Captured exchanges held against a description: what fits passes, and every kind of misfit is named."""

import copy

import pytest

from simulator.exchanges import check

HEADERS = {
    "Amazon-Advertising-API-ClientId": "client",
    "Amazon-Advertising-API-AdvertiserId": "ENTITY1",
    "Amazon-Advertising-API-MarketplaceId": "ATVPDKIKX0DER",
    "Content-Type": "application/vnd.amcinstances.v1+json",
}
GOOD = {
    "number": 1,
    "operation": "amc:createInstance",
    "method": "POST",
    "path": "/amc/instances",
    "query": "",
    "request_headers": HEADERS,
    "request_body": {"instanceName": "Acme", "awsAccountId": "111122223333", "acrBacked": True},
    "status": 400,
    "response_headers": {"Content-Type": "application/vnd.amcinstances.v1+json"},
    "response_body": {"code": "400", "details": "no"},
    "rule": None,
    "cut": False,
}


def problems(**changes) -> list[str]:
    return check([{**copy.deepcopy(GOOD), **changes}])[1]


def test_what_fits_passes():
    assert check([GOOD, {**GOOD, "operation": "lwa:token"}]) == (1, [])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"path": "/amc/instanzen"}, "there is no POST"),
        ({"method": "PATCH"}, "there is no PATCH"),
        ({"request_headers": {k: v for k, v in HEADERS.items() if "Marketplace" not in k}}, "MarketplaceId is missing"),
        ({"request_headers": {**HEADERS, "Content-Type": "application/json"}}, "the request is application/json"),
        ({"request_body": {"awsAccountId": "111122223333"}}, "instanceName"),
        ({"request_body": {"instanceName": "Acme", "acrBacked": "true"}}, "acrBacked"),
        ({"request_body": None}, "the body is missing"),
        ({"query": "colour=red"}, "there is no query parameter colour"),
        ({"status": 418}, "there is no answer 418"),
        ({"response_headers": {"Content-Type": "text/html"}}, "the answer is text/html"),
        ({"status": 200, "response_body": {"instance": {"instanceId": 7}}}, "instanceId"),
    ],
)
def test_every_misfit_is_named(changes, words):
    assert any(words in problem for problem in problems(**changes)), problems(**changes)


def test_an_answer_that_was_made_to_go_wrong_is_not_judged():
    assert problems(rule=3, status=500, response_headers={}, response_body=None) == []
    assert problems(cut=True, status=None, response_headers={}, response_body=None) == []
