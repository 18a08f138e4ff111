"""A browser on the made-up pages of the gallery, and people for the frame."""

import pytest
from django.utils import timezone

from onboarding.models import AmcAccount, AmcConnection, Person, Role


@pytest.fixture
def gallery(live_server, settings):
    """The address of the gallery, which exists only with DEBUG."""
    settings.DEBUG = True
    return f"{live_server.url}/gallery/"


@pytest.fixture
def account(db):
    connection = AmcConnection.objects.create(label="Acme", amazon_id="amzn1.account.A", refresh_token="r")
    return AmcAccount.objects.create(entity_id="ENTITY1", marketplace_id="M", name="Acme", connection=connection)


@pytest.fixture
def other_account(account):
    return AmcAccount.objects.create(
        entity_id="ENTITY2", marketplace_id="M", name="Beacon", connection=account.connection
    )


@pytest.fixture
def person(db):
    return Person.objects.create_user("amzn1.account.P", name="Priya Nair", email="priya@acme.example")


@pytest.fixture
def give(person):
    def give(account, *names):
        for name in names:
            Role.objects.create(person=person, account=account, name=name)

    return give


@pytest.fixture
def now():
    return timezone.now()
