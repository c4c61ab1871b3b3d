"""The pages of API keys: made and shown once, changed, regenerated, revoked; their request log;
the play money of the sandbox."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts import api_keys, limits, twins
from accounts.models import ApiKey, ApiRequest, ApiUsage, User, Wallet
from storefront.pages.api_keys import ENDED_SHOWN, LATEST_REQUESTS
from storefront.pages.api_requests import PER_PAGE
from tests.factories import UserFactory

KEYS, NEW, PLAY = reverse("api_keys"), reverse("new_api_key"), reverse("api_keys_play_money")
EVERY = ["services:read", "orders:read", "orders:write", "refills:write", "balance:read"]
EVERY.append("webhooks:write")
GOOD = {"kind": "live", "name": "My program", "currency": "TRY", "permissions": EVERY}


def said(response) -> str:
    text = re.sub(r"<[^>]*>", " ", response.content.decode())
    return " ".join(text.replace("\u00a0", " ").split())


def address(name: str, *args: int) -> str:
    return reverse(name, args=args)


@pytest.fixture
def shops_limits(settings) -> None:
    settings.API_PER_MINUTE, settings.API_PER_DAY = 60, 10_000


@pytest.fixture
def key(customer) -> ApiKey:
    return api_keys.issue(customer, name="Mine", currency="USD")[0]


def logged(key: ApiKey, number: int = 1, **changes) -> list[ApiRequest]:
    values = {"dialect": "panel", "action": "add", "status": 200, "result": "ok"}
    return [
        ApiRequest.objects.create(api_key=key, milliseconds=7, **{**values, **changes})
        for _ in range(number)
    ]


# --- made and changed -------------------------------------------------------------------------


def test_api_key_is_shown_once(signed_in, customer):
    made = signed_in.post(NEW, GOOD)
    again = signed_in.get(KEYS)

    key = ApiKey.objects.get()
    secret = made.context["secret"]
    assert (key.user, key.name, key.currency, key.sandbox) == (customer, "My program", "TRY", False)
    assert (key.permissions, key.networks, key.expires_at) == (EVERY, [], None)
    assert f'value="{secret}"' in made.content.decode()
    assert secret not in again.content.decode()
    assert made.headers["Cache-Control"].startswith("max-age=0, no-cache, no-store")
    assert api_keys.authenticate(secret, address="127.0.0.1") == key


def test_api_key_gets_the_terms_that_were_chosen(signed_in, customer):
    customer.time_zone = "Africa/Douala"  # an hour before UTC
    customer.save()
    day = timezone.localdate() + timedelta(days=30)
    terms = {
        "permissions": ["orders:read", "balance:read"],
        "expires_at": day.isoformat(),
        "networks": "203.0.113.7\r\n 198.51.100.0/24, 2001:db8::/32\r\n\r\n",
    }

    signed_in.post(NEW, {**GOOD, **terms})

    key = ApiKey.objects.get()
    assert key.permissions == ["orders:read", "balance:read"]
    assert key.expires_at.isoformat() == f"{day.isoformat()}T23:00:00+00:00"
    assert key.networks == ["203.0.113.7/32", "198.51.100.0/24", "2001:db8::/32"]


@pytest.mark.parametrize(
    ("permissions", "sample"),
    [
        (["services:read", "balance:read"], "action=balance"),
        (["services:read"], "action=services"),
        (["orders:write"], None),
    ],
)
def test_new_key_is_told_something_that_it_may_ask(signed_in, permissions, sample):
    html = signed_in.post(NEW, {**GOOD, "permissions": permissions}).content.decode()

    assert re.findall(r"action=\w+", html) == ([sample] if sample else [])


def test_sandbox_key_acts_for_the_twin_and_stands_apart(signed_in, customer, key):
    made = signed_in.post(NEW, {**GOOD, "kind": "sandbox"})
    page = signed_in.get(KEYS)

    sandbox = ApiKey.objects.get(sandbox=True)
    assert made.context["secret"].startswith("sk_test_")
    assert sandbox.customer.sandbox_of == customer
    assert [row.key for row in page.context["live"]] == [key]
    assert [row.key for row in page.context["sandbox"]] == [sandbox]
    assert "Play money: 600,000 XAF 40,000.00 TRY 1,000.00 USD" in said(page)


def test_sandbox_key_can_be_asked_for_by_address(signed_in):
    page = signed_in.get(NEW, {"kind": "sandbox"}).content.decode()

    assert re.search(r'<input type="radio" name="kind" value="sandbox"[^>]* checked', page)


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"name": "   "}, "name"),
        ({"name": "x" * 61}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"currency": "EUR"}, "currency"),
        ({"kind": "free"}, "kind"),
        ({"permissions": []}, "permissions"),
        ({"permissions": ["everything"]}, "permissions"),
        ({"networks": "203.0.113.7\nmy house"}, "networks"),
        ({"expires_at": "2020-01-31"}, "expires_at"),
        ({"expires_at": "9999-12-31"}, "expires_at"),
        ({"expires_at": "soon"}, "expires_at"),
    ],
)
def test_bad_api_keys_are_refused_beside_the_field(signed_in, wrong, where):
    response = signed_in.post(NEW, {**GOOD, **wrong})

    assert response.status_code == 200
    assert list(response.context["form"].errors) == [where]
    html = response.content.decode()
    assert f'<ul class="errorlist" id="id_{where}_error">' in html
    # What is folded away must not hide its problem.
    assert ('<details class="more" open>' in html) == (where in {"networks", "expires_at"})
    assert not ApiKey.objects.exists()
    assert not User.objects.filter(sandbox_of__isnull=False).exists()


def test_changing_keeps_the_text_and_what_was_not_touched(signed_in, key):
    ends = timezone.now() + timedelta(days=3, minutes=5)
    ApiKey.objects.filter(pk=key.pk).update(expires_at=ends, networks=["203.0.113.0/24"])
    form = signed_in.get(address("change_api_key", key.pk)).context["form"]
    unchanged = {name: form[name].value() or "" for name in form.fields}

    changed = signed_in.post(
        address("change_api_key", key.pk), {**unchanged, "permissions": ["orders:read"]}
    )

    after = ApiKey.objects.get()
    assert changed.headers["Location"] == address("api_key", key.pk)
    assert after.permissions == ["orders:read"]
    assert (after.name, after.digest) == ("Mine", key.digest)
    assert (after.expires_at, after.networks) == (ends, ["203.0.113.0/24"])


def test_bad_change_changes_nothing(signed_in, key):
    sent = {"name": "Other", "permissions": EVERY, "networks": "x"}

    page = signed_in.post(address("change_api_key", key.pk), sent)

    assert list(page.context["form"].errors) == ["networks"]
    assert "Change the key “Mine”" in said(page)
    assert ApiKey.objects.get().name == "Mine"


def test_regenerating_shows_the_new_text_once_and_keeps_the_old_for_the_time_chosen(
    signed_in, customer
):
    key, old = api_keys.issue(customer, name="Mine", currency="USD")

    made = signed_in.post(address("regenerate_api_key", key.pk), {"grace": "3600"})
    page = signed_in.get(address("api_key", key.pk))

    new = made.context["secret"]
    assert f'value="{new}"' in made.content.decode()
    assert "The old one works until" in said(made)
    assert "Its old text works until" in said(page)
    assert new not in page.content.decode()
    assert [api_keys.authenticate(text, address="") for text in (old, new)] == [key, key]

    signed_in.post(address("regenerate_api_key", key.pk), {"grace": "0"})

    for text in (old, new):
        with pytest.raises(api_keys.InvalidApiKey):
            api_keys.authenticate(text, address="")


@pytest.mark.parametrize("grace", ["", "-1", "60", "1e9"])
def test_regenerating_offers_few_times_and_takes_no_other(signed_in, key, grace):
    page = signed_in.post(address("regenerate_api_key", key.pk), {"grace": grace})

    assert list(page.context["form"].errors) == ["grace"]
    assert ApiKey.objects.get().digest == key.digest


def test_revoking_asks_first(signed_in, key):
    asked = signed_in.get(address("revoke_api_key", key.pk))
    key.refresh_from_db()
    untouched = key.revoked_at
    signed_in.post(address("revoke_api_key", key.pk))

    key.refresh_from_db()
    assert "Revoke the key “Mine”?" in said(asked)
    assert untouched is None
    assert key.revoked_at is not None


def test_revoked_key_is_read_for_30_days_and_never_touched_again(signed_in, key):
    api_keys.revoke(key)
    logged(key)

    acts = [
        signed_in.post(address(f"{act}_api_key", key.pk), {"grace": "0"}).status_code
        for act in ("change", "regenerate", "revoke")
    ]
    ended = [row.key for row in signed_in.get(KEYS).context["ended"]]
    page = signed_in.get(address("api_key", key.pk))
    ApiKey.objects.update(revoked_at=timezone.now() - ENDED_SHOWN)

    assert acts == [404, 404, 404]
    assert ended == [key]
    assert address("api_key_requests", key.pk) in page.content.decode()
    assert address("revoke_api_key", key.pk) not in page.content.decode()
    assert signed_in.get(KEYS).context["ended"] == []


# --- what a key tells ---------------------------------------------------------------------------


def test_key_tells_its_terms_and_what_it_has_used(signed_in, customer, key, shops_limits):
    customer.api_per_day = 500
    customer.save()
    limits.count(key)
    ApiUsage.objects.update(day_count=321)
    api_keys.change(
        key,
        name="Mine",
        terms=api_keys.KeyTerms(permissions=["orders:read"], networks=["203.0.113.0/24"]),
    )

    words = said(signed_in.get(address("api_key", key.pk)))
    row = said(signed_in.get(KEYS))

    assert "This minute 1 of 60" in words
    assert "Today 321 of 500" in words
    assert "May Read orders and refills From 203.0.113.0/24 Works until You revoke it" in words
    assert "321 of 500" in row


def test_use_of_windows_that_have_ended_is_nothing(signed_in, key, shops_limits):
    limits.count(key)
    ApiUsage.objects.update(minute_from=1, day_from=1)

    words = said(signed_in.get(address("api_key", key.pk)))

    assert "This minute 0 of 60 Today 0 of 10,000" in words


def test_expired_key_says_so(signed_in, key):
    ApiKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    assert "Expired" in said(signed_in.get(KEYS))


# --- the request log ----------------------------------------------------------------------------


def test_requests_are_filtered_by_result_and_text(signed_in, key):
    [add], [refused], [services] = (
        logged(key, action="add"),
        logged(key, action="add", result="insufficient_balance"),
        logged(key, action="GET /services", dialect="rest"),
    )

    def found(**asked):
        page = signed_in.get(address("api_key_requests", key.pk), asked)
        return page.context["requests"]

    assert found() == [services, refused, add]
    assert found(result="ok") == [services, add]
    assert found(result="refused", q="ADD") == [refused]
    assert found(q="insufficient") == [refused]
    assert found(q="nothing") == []


def test_requests_go_on_page_by_page_however_many_come_meanwhile(signed_in, key):
    entries = logged(key, PER_PAGE + 1)

    first = signed_in.get(address("api_key_requests", key.pk))
    logged(key)
    second = signed_in.get(address("api_key_requests", key.pk), {"before": first.context["older"]})

    assert first.context["requests"] == entries[:0:-1]
    assert f"?before={first.context['older']}" in first.content.decode()
    assert (second.context["requests"], second.context["older"]) == ([entries[0]], None)


@pytest.mark.parametrize("before", ["-1", "x", "9" * 30, "٣"])
def test_impossible_pages_do_not_exist(signed_in, key, before):
    page = signed_in.get(address("api_key_requests", key.pk), {"before": before})

    assert page.status_code == 404


def test_request_shows_what_was_sent_and_answered_as_text(signed_in, key):
    [entry] = logged(key, request="link=<script>", answer='{"order": 7}', address="203.0.113.7")

    page = signed_in.get(address("api_key_request", key.pk, entry.pk))

    assert "link=&lt;script&gt;" in page.content.decode()
    assert "{&quot;order&quot;: 7}" in page.content.decode()
    assert "203.0.113.7" in said(page)


def test_only_the_latest_requests_stand_on_the_keys_page(signed_in, key):
    logged(key, LATEST_REQUESTS + 1)

    assert len(signed_in.get(address("api_key", key.pk)).context["requests"]) == LATEST_REQUESTS


# --- others, queries, play money ----------------------------------------------------------------


def test_others_keys_and_requests_do_not_exist(signed_in, key):
    foreign, _text = api_keys.issue(UserFactory(), name="Foreign", currency="USD")
    [entry] = logged(foreign)
    pages = ["api_key", "change_api_key", "regenerate_api_key", "revoke_api_key"]

    answers = [signed_in.get(address(name, foreign.pk)) for name in (*pages, "api_key_requests")]
    answers += [signed_in.post(address(name, foreign.pk), {"grace": "0"}) for name in pages[1:]]
    answers += [
        signed_in.get(address("api_key_request", pk, entry.pk)) for pk in (foreign.pk, key.pk)
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert "Foreign" not in signed_in.get(KEYS).content.decode()
    after = ApiKey.objects.get(pk=foreign.pk)
    assert (after.revoked_at, after.digest) == (None, foreign.digest)


@pytest.mark.parametrize("number", [1, 3])
def test_lists_cost_the_same_queries_however_many(
    signed_in, customer, number, django_assert_num_queries
):
    for each in range(number):
        api_keys.issue(customer, name=str(each), currency="USD")
        key, _text = api_keys.issue_sandbox(customer, name=str(each), currency="USD")
        logged(key)
        limits.count(key)

    # session, user; keys, use; twin, its wallets; the header's purse
    with django_assert_num_queries(7):
        signed_in.get(KEYS)
    # session, user; key, use, requests; the header's purse
    with django_assert_num_queries(6):
        signed_in.get(address("api_key", key.pk))
    # session, user; key, requests; the header's purse
    with django_assert_num_queries(5):
        signed_in.get(address("api_key_requests", key.pk))


def test_play_wallets_are_filled_again(signed_in, customer):
    wallets = Wallet.objects.filter(user=twins.twin_of(customer))
    api_keys.issue_sandbox(customer, name="Test", currency="USD")

    asked = signed_in.get(PLAY).status_code
    told = signed_in.post(PLAY, follow=True)

    assert asked == 405
    assert "Your play wallets are full again." in said(told)
    assert {wallet.currency: wallet.balance for wallet in wallets} == dict(twins.FUNDS)
    assert not Wallet.objects.filter(user=customer, balance__gt=Decimal(0)).exists()
