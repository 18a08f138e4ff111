"""Asks a simulator within this process."""

import json
from dataclasses import dataclass, field

from werkzeug.test import Client

from simulator.people import CLIENT_ID, HARBOUR
from simulator.server import Simulator

INSTANCES = "application/vnd.amcinstances.v1+json"


@dataclass
class Asking:
    """Asks a simulator within this process, as one person and in one AMC account."""

    simulator: Simulator
    person: str = "admin"
    account: str = HARBOUR.id
    marketplace: str = HARBOUR.marketplace
    client: Client = field(init=False)

    def __post_init__(self):
        self.client = Client(self.simulator)
        scopes = ["profile", "advertising::campaign_management"]
        self.token = self.simulator.login.issue(self.person, scopes)["access_token"]

    @property
    def headers(self):
        return {
            "Authorization": f"Bearer {self.token}",
            "Amazon-Advertising-API-ClientId": CLIENT_ID,
            "Amazon-Advertising-API-AdvertiserId": self.account,
            "Amazon-Advertising-API-MarketplaceId": self.marketplace,
        }

    def __call__(self, method, path, body=None, *, headers=None, content_type=INSTANCES, status=None):
        sent = {"data": json.dumps(body), "content_type": content_type} if body is not None else {}
        merged = {name: value for name, value in {**self.headers, **(headers or {})}.items() if value is not None}
        response = self.client.open(path, method=method, headers=merged, **sent)
        if status is not None:
            assert response.status_code == status, response.text
        return response

    def create(self, name="Spring campaign", **more):
        body = {"instanceName": name, "awsAccountId": HARBOUR.aws_accounts[0], "acrBacked": True, **more}
        return self("POST", "/amc/instances", body, status=200).json["instance"]["instanceId"]

    def control(self, method, path, body=None, status=200):
        response = self.client.open(f"/_simulator/{path}", method=method, json=body)
        assert response.status_code == status, response.text
        return response.json


def dump(simulator):
    """Everything in the world, for comparing before and after."""
    world = simulator.world
    rows = world._database.execute("SELECT tab, key, body FROM document ORDER BY tab, key")
    return [row for row in rows if not row[0].startswith("lwa.")]
