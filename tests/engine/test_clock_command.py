"""`manage.py clock --once`: what it has done."""

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from onboarding.management.commands import clock as command


# The clock closes connections that it finds inside a transaction.
@pytest.mark.django_db(transaction=True)
def test_an_old_list_of_instances_is_read_again_once(account, monkeypatch, queued):
    asked: list[int] = []
    monkeypatch.setattr(command, "put_import", lambda account_id: asked.append(account_id) or True)
    call_command("clock", "--once")
    assert asked == [account.pk]
    account.instances_read_at = timezone.now()
    account.save()
    call_command("clock", "--once")
    assert asked == [account.pk]
    account.instances_read_at = timezone.now() - timedelta(hours=2)
    account.save()
    clock = command.Command()
    clock._read_instances()
    clock._read_instances()
    assert asked == [account.pk] * 2
