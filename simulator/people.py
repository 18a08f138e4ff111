"""The demo world: who can sign in, which AMC accounts exist and who sees which.

Everything here is made up. Marketplace ids are Amazon's public ones.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass, field

from simulator.store import Document, World

MARKETPLACES = {
    "US": "ATVPDKIKX0DER",
    "CA": "A2EUQ1WTGCTBG2",
    "GB": "A1F83G8C2ARO7P",
    "DE": "A1PA6795UKMFR9",
}
"""Amazon's marketplace ids by country."""

CLIENT_ID = "amzn1.application-oa2-client.demo"
CLIENT_SECRET = "amzn1.oa2-cs.v1.demo-secret"  # noqa: S105 - a made-up secret of a made-up client, published on purpose


@dataclass(frozen=True)
class Person:
    """Somebody who can sign in with Amazon. `amc` says, per AMC account id, whether they are "admin" or "viewer"."""

    id: str
    user_id: str
    name: str
    email: str
    title: str
    amc: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AmcAccount:
    """An AMC account, with the AWS accounts that its demo people work with."""

    id: str
    name: str
    marketplace: str
    aws_accounts: tuple[str, ...]


HARBOUR = AmcAccount("ENTITYHARBOURPINE", "Harbour and Pine", MARKETPLACES["US"], ("111122223333", "222233334444"))
LUMEN = AmcAccount("ENTITYLUMENMEDIA", "Lumen Media Agency", MARKETPLACES["US"], ("444455556666", "777788889999"))
PAPERBOAT = AmcAccount("ENTITYPAPERBOAT", "Paper Boat Foods", MARKETPLACES["GB"], ("555566667777",))
CATALOGUE = AmcAccount("ENTITYCATALOGUE", "Big Catalogue", MARKETPLACES["CA"], ("666677778888",))

ACCOUNTS = (HARBOUR, LUMEN, PAPERBOAT, CATALOGUE)

PEOPLE = (
    Person(
        "analyst",
        "amzn1.account.DEMOANALYST0000000000000001",
        "Ana Lindqvist",
        "ana@harbour.example",
        "Marketing analyst",
        {HARBOUR.id: "viewer", CATALOGUE.id: "viewer"},
    ),
    Person(
        "approver",
        "amzn1.account.DEMOAPPROVER000000000000002",
        "Omar Haddad",
        "omar@harbour.example",
        "Data protection lead, approves",
        {HARBOUR.id: "viewer", LUMEN.id: "viewer"},
    ),
    Person(
        "admin",
        "amzn1.account.DEMOADMIN00000000000000003",
        "Ingrid Moreau",
        "ingrid@harbour.example",
        "AMC administrator",
        {HARBOUR.id: "admin", LUMEN.id: "admin", PAPERBOAT.id: "admin", CATALOGUE.id: "admin"},
    ),
    Person(
        "agency",
        "amzn1.account.DEMOAGENCY0000000000000004",
        "Kofi Tanaka",
        "kofi@lumen.example",
        "Agency analyst, another team",
        {LUMEN.id: "admin"},
    ),
    Person(
        "outsider",
        "amzn1.account.DEMOOUTSIDER00000000000005",
        "Noor Petrov",
        "noor@elsewhere.example",
        "Has no rights anywhere",
    ),
)


def seed(world: World) -> None:
    """Put the demo people, accounts and client into an empty world."""
    with world.change():
        for person in PEOPLE:
            world.table("people").put(person.id, asdict(person))
        for account in ACCOUNTS:
            world.table("amc.accounts").put(account.id, {**asdict(account), "aws_accounts": list(account.aws_accounts)})
        world.table("lwa.clients").put(
            CLIENT_ID,
            {
                "id": CLIENT_ID,
                "secret": CLIENT_SECRET,
                "name": "The AMC onboarding portal",
                "redirect_hosts": ["127.0.0.1", "localhost", "[::1]", "testserver"],
            },
        )
        world.table("settings").put("secret", {"key": secrets.token_hex(32)})


def person(world: World, name: str) -> Document | None:
    """The person with this id, or with this Login with Amazon user id or e-mail address; None if there is none."""
    people = world.table("people")
    if name in people:
        return people[name]
    found = people.find(lambda one: name in (one["user_id"], one["email"]))
    return found[0] if found else None
