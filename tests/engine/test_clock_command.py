"""`manage.py clock --once`: what it has done."""

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from onboarding.engine import queue
from onboarding.models import AmcAccount


# The clock closes connections that it finds inside a transaction.
@pytest.mark.django_db(transaction=True)
def test_an_old_list_of_instances_is_read_again_once(account, monkeypatch, queued):
    asked: list[int] = []
    monkeypatch.setattr(
        queue,
        "put_job",
        lambda function, row: function != queue.READ_INSTANCES or asked.append(row) or True,
    )
    call_command("clock", "--once")
    assert asked == [account.pk]
    # Another clock leaves it alone, also while nothing has come of it.
    call_command("clock", "--once")
    assert asked == [account.pk]
    now = timezone.now()
    AmcAccount.objects.update(instances_read_at=now, instances_asked_at=now - timedelta(minutes=20))
    call_command("clock", "--once")
    assert asked == [account.pk]
    AmcAccount.objects.update(instances_read_at=now - timedelta(hours=2))
    call_command("clock", "--once")
    assert asked == [account.pk] * 2
