"""After a backup was restored nothing is sent before staff say so."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import call_command

from accounts.clock import from_now
from orders import dispatch
from orders.restoring import hold_everything
from orders.statuses import Status
from tests.orders.conftest import LINK, adds, make_due, open_alerts, waiting

pytestmark = pytest.mark.django_db


def test_what_was_being_sent_is_unknown_and_nothing_else_goes_out(provider, sandbox, books):
    sending = waiting(provider)
    dispatch.claim(provider, limit=1)
    type(sending).objects.filter(pk=sending.pk).update(lease_until=from_now(timedelta(hours=1)))
    pending = waiting(provider, link=f"{LINK}2")

    assert hold_everything() == (1, 1)

    make_due()
    assert dispatch.dispatch(provider) == 0
    sending.refresh_from_db()
    pending.refresh_from_db()
    assert (sending.status, pending.status) == (Status.UNCONFIRMED, Status.PENDING)
    assert open_alerts() == {("order_unconfirmed", sending.subject)}
    assert adds(sandbox) == []


def test_released_provider_is_sent_what_waits(provider, sandbox, books):
    pending = waiting(provider)
    hold_everything()

    type(provider).objects.update(maintenance=False)
    provider.refresh_from_db()
    assert dispatch.dispatch(provider) == 1

    pending.refresh_from_db()
    assert pending.status == Status.PROCESSING


def test_command_tells_what_it_did(provider, capsys):
    call_command("after_restore")

    assert capsys.readouterr().out.splitlines()[:2] == [
        "Providers put into maintenance: 1.",
        "Orders that were being sent, now unconfirmed: 0.",
    ]
