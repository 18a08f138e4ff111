"""Keys for secrets at rest: made, rotated, missing."""

import io

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import connection

from onboarding.models import AmcConnection

pytestmark = pytest.mark.django_db


def command(name: str) -> str:
    out = io.StringIO()
    call_command(name, stdout=out)
    return out.getvalue().strip()


def stored() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT refresh_token FROM onboarding_amcconnection ORDER BY id")
        return [row[0] for row in cursor.fetchall()]


def test_a_new_key_is_a_key_and_never_the_same():
    first, second = command("newkey"), command("newkey")
    assert first != second
    assert Fernet(first).decrypt(Fernet(first).encrypt(b"x")) == b"x"


def test_rotating_lets_the_old_key_go(settings):
    old, new = command("newkey"), command("newkey")
    settings.FIELD_KEYS = [old]
    for number in range(3):
        AmcConnection.objects.create(label="c", amazon_id=f"a{number}", refresh_token=f"Atzr|{number}")
    before = stored()
    settings.FIELD_KEYS = [new, old]
    assert [row.refresh_token for row in AmcConnection.objects.order_by("pk")] == ["Atzr|0", "Atzr|1", "Atzr|2"]
    assert command("rotatekeys").startswith("3 secrets")
    assert not set(before) & set(stored())
    settings.FIELD_KEYS = [new]
    assert [row.refresh_token for row in AmcConnection.objects.order_by("pk")] == ["Atzr|0", "Atzr|1", "Atzr|2"]
    assert command("rotatekeys").startswith("0 secrets")


def test_a_missing_key_is_named_without_the_secret(settings):
    settings.FIELD_KEYS = [command("newkey")]
    AmcConnection.objects.create(label="c", amazon_id="a", refresh_token="Atzr|secret")
    settings.FIELD_KEYS = [command("newkey")]
    with pytest.raises(CommandError, match="FIELD_KEYS") as caught:
        command("rotatekeys")
    assert "Atzr" not in str(caught.value)
