"""Whatever is sent to a form or put into an address: an answer, never a failure of ours."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orders.models import Order

# On PostgreSQL alone: it refuses all that SQLite does, and more.
pytestmark = pytest.mark.postgresql

QUICK = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
NASTY = st.sampled_from(
    [
        "",
        "\x00",
        "a\x00b",
        "-1",
        "0",
        "1e400",
        "NaN",
        "9" * 400,
        "٣",
        "' OR 1=1 --",
        "<script>",
        "%s%n",
        "\u202e\ufeff",
        "\ud7ff\U0001f600",
        "../../etc/passwd",
        "x" * 5000,
        "\r\n" * 50,
        "http://[::1",
        "javascript:alert(1)",
    ]
)
VALUE = NASTY | st.text(max_size=60) | st.integers(-(10**20), 10**20).map(str)

FORMS = {
    "new_order": [
        "service", "link", "quantity", "comments", "runs", "interval", "currency", "agreed",
        "idempotency_key", "again",
    ],
    "order_price": ["service", "link", "quantity", "comments", "currency"],
    "mass_order": ["text", "currency", "check", "confirm"],
    "orders_refill": ["order"],
    "new_api_key": ["kind", "name", "currency", "permissions", "expires_at", "networks"],
    "new_webhook": ["url", "events", "description", "sandbox"],
    "low_wallets": ["XAF", "TRY", "USD"],
    "profile": ["name", "language", "currency", "time_zone"],
    "set_language": ["language", "next"],
    "account_login": ["login", "password", "next"],
    "account_signup": ["email", "password1", "currency", "next"],
    "account_reset_password": ["email"],
    "account_change_password": ["oldpassword", "password1", "password2"],
    "account_email": ["email", "action_add", "action_primary"],
}  # fmt: skip
ADDRESSES = {
    "home": ["currency"],
    "catalogue": ["q", "network", "category", "currency", "page"],
    "new_order": ["service", "currency", "link", "quantity", "comments"],
    "service_options": ["q", "network", "currency"],
    "orders": ["q", "status", "page"],
    "orders_progress": ["watch", "step"],
    "orders_refill": ["order"],
    "wallet": ["currency", "page"],
}


@pytest.mark.parametrize("name", FORMS)
@QUICK
@given(data=st.data())
def test_forms_answer_whatever_is_sent(signed_in, client, wallet, service, name, data):
    cache.clear()  # the sign-in limits would answer for the form
    values = data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys(FORMS[name], VALUE)))
    if "service" in FORMS[name] and data.draw(st.booleans()):
        values["service"] = str(service.pk)

    response = signed_in.post(reverse(name), values)

    assert response.status_code in {200, 302, 400, 404, 409, 422, 429}
    assert all(order.charge > 0 for order in Order.objects.all())


@pytest.mark.parametrize("name", ADDRESSES)
@QUICK
@given(data=st.data())
def test_addresses_answer_whatever_is_asked(signed_in, wallet, service, name, data):
    values = data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys(ADDRESSES[name], VALUE)))
    headers = {"HX-Request": "true"} if data.draw(st.booleans()) else {}

    response = signed_in.get(reverse(name), values, headers=headers)

    assert response.status_code in {200, 400, 404}
