"""What staff can do to people, keys, wallets, rates and alerts; and what nobody can."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.urls import reverse

from accounts import api_keys, ledger, limits
from accounts.alerts import alert
from accounts.models import (
    Alert,
    ApiKey,
    ApiRequest,
    ExchangeRate,
    JournalEntry,
    Posting,
    User,
    Wallet,
)
from accounts.twins import twin_of
from tests.factories import (
    PASSWORD,
    ExchangeRateFactory,
    StaffFactory,
    UserFactory,
    WalletFactory,
    fund,
)

pytestmark = pytest.mark.django_db

NBSP = "\N{NO-BREAK SPACE}"


@pytest.fixture
def staff(client):
    staff = StaffFactory()
    client.force_login(staff)
    return staff


@pytest.fixture
def member(client):
    """Gives the staff member that is signed in, without rights, the permissions named."""
    member = UserFactory(is_staff=True)
    client.force_login(member)

    def permit(*codenames):
        member.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        assert member.user_permissions.count() == len(codenames)
        return member

    return permit


def page(model, name, *args):
    return reverse(f"admin:accounts_{model.__name__.lower()}_{name}", args=args)


def told(response):
    return [str(message) for message in response.context["messages"]]


def log():
    return list(LogEntry.objects.values_list("user__email", "object_id", "change_message"))


# --- wallets --------------------------------------------------------------------------------------


@pytest.fixture
def wallet():
    return WalletFactory(funds="10.5")


def adjust_page(wallet):
    return reverse("admin:accounts_wallet_adjust_balance", args=[wallet.pk])


def form_of(client, wallet):
    """The fields of a freshly opened form, filled to give 2.25."""
    form = client.get(adjust_page(wallet)).context["form"]
    return {
        "direction": "give",
        "amount": "2.25",
        "reason": "paid in cash",
        "key": form["key"].value(),
    }


def balance(wallet):
    return Wallet.objects.get(pk=wallet.pk).balance


def test_adjustment_posts_to_the_ledger_and_tells_before_and_after(client, staff, wallet):
    form = form_of(client, wallet)

    response = client.post(adjust_page(wallet), form, follow=True)

    assert told(response) == [f"Balance before: 10.50{NBSP}USD. Balance now: 12.75{NBSP}USD."]
    entry = JournalEntry.objects.get(pk=form["key"])
    assert (entry.kind, entry.reason, entry.actor) == ("adjustment", "paid in cash", staff)
    assert sorted(entry.postings.values_list("amount", flat=True)) == [
        Decimal("-2.25"),
        Decimal("2.25"),
    ]
    assert balance(wallet) == Decimal("12.75")
    assert log() == [(staff.email, str(wallet.pk), "Adjust balance: paid in cash")]


def test_adjustment_takes(client, staff, wallet):
    client.post(adjust_page(wallet), {**form_of(client, wallet), "direction": "take"})

    assert balance(wallet) == Decimal("8.25")


def test_form_sent_twice_adjusts_once(client, staff, wallet):
    form = form_of(client, wallet)

    answers = [told(client.post(adjust_page(wallet), form, follow=True)) for _ in range(2)]

    assert answers[0] == answers[1]
    assert balance(wallet) == Decimal("12.75")


def test_two_forms_adjust_twice(client, staff, wallet):
    for _ in range(2):
        client.post(adjust_page(wallet), form_of(client, wallet))

    assert balance(wallet) == Decimal(15)


@pytest.mark.parametrize(
    ("change", "where", "says"),
    [
        ({"direction": "take", "amount": "10.500001"}, "__all__", f"only 10.50{NBSP}USD"),
        ({"reason": ""}, "reason", "required"),
        ({"reason": "   "}, "reason", "required"),
        ({"reason": "x" * 301}, "reason", "at most 300"),
        ({"reason": "a\x00b"}, "reason", "Null characters"),
        ({"direction": ""}, "direction", "required"),
        ({"direction": "burn"}, "direction", "valid choice"),
        ({"amount": ""}, "amount", "required"),
        ({"amount": "0"}, "amount", "greater than or equal to"),
        ({"amount": "-1"}, "amount", "greater than or equal to"),
        ({"amount": "1.0000001"}, "amount", "6 decimal places"),
        ({"amount": "1000000000.000001"}, "amount", "less than or equal to"),
        ({"amount": "1E+1000000"}, "amount", "less than or equal to"),
        ({"amount": "NaN"}, "amount", "Enter a number"),
        ({"key": ""}, "key", "required"),
        ({"key": "order:1:charge"}, "key", "valid value"),
    ],
)
def test_bad_adjustment_is_refused_and_moves_nothing(client, staff, wallet, change, where, says):
    form = {**form_of(client, wallet), **change}

    response = client.post(adjust_page(wallet), form)

    assert response.status_code == 200
    assert list(response.context["form"].errors) == [where]
    assert says in response.context["form"].errors[where][0]
    assert balance(wallet) == Decimal("10.5")
    assert log() == []


def test_form_sent_again_with_other_figures_is_refused(client, staff, wallet):
    form = form_of(client, wallet)
    client.post(adjust_page(wallet), form)

    response = client.post(adjust_page(wallet), {**form, "amount": "3"})

    assert "sent before" in response.context["form"].non_field_errors()[0]
    assert balance(wallet) == Decimal("12.75")


def test_opening_the_form_moves_nothing_and_shows_the_balance(client, staff, wallet):
    response = client.get(adjust_page(wallet))

    assert f"10.50{NBSP}USD" in response.content.decode()
    assert balance(wallet) == Decimal("10.5")


def test_adjustment_of_an_unknown_wallet_leads_back(client, staff):
    for key in ("999999", "abc"):
        url = reverse("admin:accounts_wallet_adjust_balance", args=[key])
        assert client.get(url).status_code == 302


def test_adjusting_needs_its_permission(client, member, wallet):
    member("view_wallet")

    shown = client.get(page(Wallet, "change", wallet.pk))
    refused = client.post(adjust_page(wallet), {"direction": "give"})

    assert adjust_page(wallet) not in shown.content.decode()
    assert refused.status_code == 403
    assert balance(wallet) == Decimal("10.5")


def test_who_may_change_wallets_may_adjust_and_nothing_else(client, member, wallet):
    member("change_wallet")

    shown = client.get(page(Wallet, "change", wallet.pk))
    client.post(adjust_page(wallet), form_of(client, wallet))
    refused = client.post(page(Wallet, "change", wallet.pk), {"currency": "XAF", "balance": "99"})

    assert adjust_page(wallet) in shown.content.decode()
    assert refused.status_code == 403
    assert (balance(wallet), Wallet.objects.get().currency) == (Decimal("12.75"), "USD")


def test_wallet_page_shows_transactions_only_to_who_may_see_them(client, member, wallet):
    member("view_wallet")
    without = client.get(page(Wallet, "change", wallet.pk)).context.get("ledger_table")
    member("view_wallet", "view_posting")
    with_them = client.get(page(Wallet, "change", wallet.pk)).context["ledger_table"]

    assert without is None
    assert [row[3] for row in with_them["rows"]] == [f"10.50{NBSP}USD"]


# --- the ledger -----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [Wallet, JournalEntry, Posting])
def test_money_cannot_be_written_by_a_superuser(client, staff, wallet, model):
    obj = model.objects.first()
    before = list(model.objects.values())
    change = page(model, "change", str(obj.pk).replace(":", "_3A"))

    answers = [
        client.get(page(model, "add")),
        client.post(page(model, "add"), {"amount": "1"}),
        client.post(change, {"amount": "1", "reason": "other"}),
        client.post(change.replace("/change/", "/delete/"), {"post": "yes"}),
        client.post(
            page(model, "changelist"),
            {"action": "delete_selected", "_selected_action": [obj.pk], "post": "yes"},
        ),
    ]

    assert [answer.status_code for answer in answers[:4]] == [403] * 4
    assert list(model.objects.values()) == before


def test_journal_is_found_by_key_subject_and_day(client, staff, wallet):
    ledger.charge(wallet, Decimal(1), key="order:42:charge", subject="order:42")
    fund(wallet, 5)

    def found(**query):
        return [
            e.pk for e in client.get(page(JournalEntry, "changelist"), query).context["cl"].queryset
        ]

    assert found(q="order:42") == found(q="order:42:ch") == ["order:42:charge"]
    assert found(q="order:4") == ["order:42:charge"]
    assert found(q="nothing") == []
    assert len(found(created_at_from="2000-01-01", created_at_to="2999-01-01")) == 3
    assert found(created_at_to="2000-01-01") == []
    assert len(found(created_at_from="0001-01-01", created_at_to="9999-12-31")) == 3
    assert len(found(created_at_from="nonsense")) == 3


def test_last_day_of_a_range_is_included(client, staff, wallet):
    entry = JournalEntry.objects.get()
    day = entry.created_at.date().isoformat()

    response = client.get(
        page(JournalEntry, "changelist"), {"created_at_from": day, "created_at_to": day}
    )

    assert list(response.context["cl"].queryset) == [entry]


def test_entry_page_shows_all_its_legs(client, staff, wallet):
    entry = JournalEntry.objects.get()

    response = client.get(page(JournalEntry, "change", entry.pk.replace(":", "_3A")))

    rows = response.context["ledger_table"]["rows"]
    assert [(row[2], row[3], row[4]) for row in rows] == [
        ("Wallet", f"10.50{NBSP}USD", f"10.50{NBSP}USD"),
        ("Adjustments", f"\N{MINUS SIGN}10.50{NBSP}USD", "–"),
    ]


# --- people ---------------------------------------------------------------------------------------


def action(client, model, name, *objects):
    return client.post(
        page(model, "changelist"),
        {"action": name, "_selected_action": [obj.pk for obj in objects]},
        follow=True,
    )


def test_suspending_ends_access_and_activating_gives_it_back(client, staff):
    one, two = UserFactory(), UserFactory(is_active=False)

    suspended = action(client, User, "suspend_selected", one, two)
    states = [User.objects.get(pk=user.pk).is_active for user in (one, two)]
    activated = action(client, User, "activate_selected", one, two)

    assert (told(suspended), states) == (["1 person suspended."], [False, False])
    assert told(activated) == ["2 people activated."]
    assert set(User.objects.values_list("is_active", flat=True)) == {True}
    assert [entry[2] for entry in log()] == ["Activated", "Activated", "Suspended"]


def test_twins_stand_apart_and_are_left_alone(client, staff):
    customer = UserFactory()
    twin = twin_of(customer)

    people = set(client.get(page(User, "changelist")).context["cl"].result_list)
    twins = set(client.get(page(User, "changelist"), {"money": "play"}).context["cl"].result_list)
    edited = client.post(page(User, "change", twin.pk), {"email": "taken@example.com"})
    action(client, User, "suspend_selected", customer, twin)

    assert (people, twins) == ({staff, customer}, {twin})
    assert edited.status_code == 403
    assert list(User.objects.filter(is_active=False)) == [customer]


def test_customer_can_be_given_limits_of_their_own(client, staff):
    customer = UserFactory()
    form = {"email": customer.email, "currency": "USD", "time_zone": "UTC", "is_active": "on"}
    form |= {f"wallets-{name}_FORMS": "0" for name in ("TOTAL", "INITIAL")}

    bad = client.post(page(User, "change", customer.pk), {**form, "api_per_day": "0"})
    client.post(page(User, "change", customer.pk), {**form, "api_per_day": "500"})

    api_key, _text = api_keys.issue(User.objects.get(pk=customer.pk), name="a", currency="USD")
    assert list(bad.context["adminform"].form.errors) == ["api_per_day"]
    assert limits.limits_of(api_key)[1] == 500


def test_nobody_suspends_themselves(client, staff):
    action(client, User, "suspend_selected", staff)

    staff.refresh_from_db()
    assert staff.is_active


def test_staff_without_all_rights_cannot_touch_other_staff(client, member):
    me = member("view_user", "change_user")
    boss = StaffFactory()

    action(client, User, "suspend_selected", boss)
    shown = client.get(page(User, "change", boss.pk))
    changed = client.post(page(User, "change", boss.pk), {"email": "taken@example.com"})
    password = reverse("admin:auth_user_password_change", args=[boss.pk])
    taken = client.post(password, {"password1": "x", "password2": "x", "usable_password": "true"})

    boss.refresh_from_db()
    assert (boss.is_active, boss.email.startswith("staff")) == (True, True)
    assert boss.check_password(PASSWORD)
    assert (shown.status_code, changed.status_code, taken.status_code) == (200, 403, 403)
    assert me.is_superuser is False


def user_form(client, user):
    """What the change page would send if nothing was edited."""
    response = client.get(page(User, "change", user.pk))
    form = response.context["adminform"].form
    sent = {name: form[name].value() for name in form.fields if name != "password"}
    for inline in response.context["inline_admin_formsets"]:
        management = inline.formset.management_form
        sent |= {management.add_prefix(k): v for k, v in management.initial.items()}
    return {
        name: value for name, value in sent.items() if value or value == "" or type(value) is int
    }


def test_staff_cannot_give_rights_that_they_do_not_have(client, member):
    member("view_user", "change_user")
    customer = UserFactory()
    form = user_form(client, customer)

    client.post(
        page(User, "change", customer.pk),
        {**form, "name": "New", "is_staff": "on", "is_superuser": "on"},
    )

    customer.refresh_from_db()
    assert (customer.name, customer.is_staff, customer.is_superuser) == ("New", False, False)


def test_superuser_edits_a_customer(client, staff):
    customer = WalletFactory().user
    form = user_form(client, customer)

    response = client.post(
        page(User, "change", customer.pk), {**form, "name": "Amina", "is_staff": "on"}
    )

    assert response.status_code == 302, response.context["adminform"].form.errors
    customer.refresh_from_db()
    assert (customer.name, customer.is_staff) == ("Amina", True)


def test_new_address_replaces_the_old_one_for_signing_in(client, staff):
    customer = UserFactory(email="old@example.com")
    EmailAddress.objects.create(user=customer, email="old@example.com", primary=True, verified=True)
    form = user_form(client, customer)

    response = client.post(page(User, "change", customer.pk), {**form, "email": "New@Example.com"})

    assert response.status_code == 302, response.context["errors"]
    assert User.objects.get(pk=customer.pk).email == "new@example.com"
    addresses = EmailAddress.objects.values_list("email", "primary", "verified")
    assert list(addresses) == [("new@example.com", True, False)]


def test_superuser_adds_a_person_with_a_password(client, staff):
    form = {"email": "New@Example.com", "name": "", "usable_password": "true"}

    client.post(
        page(User, "add"),
        {
            **form,
            "password1": PASSWORD,
            "password2": PASSWORD,
            "wallets-TOTAL_FORMS": 0,
            "wallets-INITIAL_FORMS": 0,
        },
    )

    created = User.objects.get(email="new@example.com")
    assert created.check_password(PASSWORD)


def test_no_page_shows_a_passwords_hash(client, member):
    customer = UserFactory()
    for rights in (["view_user"], ["change_user"]):
        member(*rights)

        text = client.get(page(User, "change", customer.pk)).content.decode()

        assert customer.email in text
        assert customer.password not in text


def test_people_are_never_deleted(client, staff):
    customer = UserFactory()

    answer = client.post(page(User, "delete", customer.pk), {"post": "yes"})

    assert answer.status_code == 403
    assert User.objects.filter(pk=customer.pk).exists()


def test_password_page_sets_a_new_password(client, staff):
    customer = UserFactory()

    client.post(
        reverse("admin:auth_user_password_change", args=[customer.pk]),
        {
            "password1": "another long phrase",
            "password2": "another long phrase",
            "usable_password": "true",
        },
    )

    customer.refresh_from_db()
    assert customer.check_password("another long phrase")


# --- keys, addresses, second factors --------------------------------------------------------------


def test_revoking_a_key_says_why_and_is_logged(client, staff):
    api_key, text = api_keys.issue(UserFactory(), name="panel", currency="USD")
    url = reverse("admin:accounts_apikey_revoke", args=[api_key.pk])

    without_reason = client.post(url, {"reason": ""})
    assert "reason" in without_reason.context["form"].errors
    client.post(url, {"reason": "leaked"})

    api_key.refresh_from_db()
    assert api_key.revoked_at is not None
    assert log() == [(staff.email, str(api_key.pk), "Revoke: leaked")]
    with pytest.raises(api_keys.InvalidApiKey):
        api_keys.authenticate(text, address="127.0.0.1")


def test_keys_cannot_be_made_or_edited(client, staff):
    api_key, _text = api_keys.issue(UserFactory(), name="panel", currency="USD")

    answers = [
        client.get(page(ApiKey, "add")).status_code,
        client.post(page(ApiKey, "change", api_key.pk), {"name": "x"}).status_code,
        client.post(page(ApiKey, "delete", api_key.pk), {"post": "yes"}).status_code,
    ]

    assert answers == [403, 403, 403]


def test_key_tells_its_terms_and_leads_to_its_requests(client, staff):
    terms = api_keys.KeyTerms(permissions=["orders:read"], networks=["203.0.113.0/24"])
    customer = UserFactory(api_per_day=500)
    api_key, _text = api_keys.issue(customer, name="panel", currency="USD", terms=terms)
    limits.count(api_key)
    other, _text = api_keys.issue_sandbox(UserFactory(), name="test", currency="USD")
    entries = [
        ApiRequest.objects.create(
            api_key=each, dialect="panel", action="add", status=200, result="ok", milliseconds=1
        )
        for each in (api_key, other)
    ]

    text = client.get(page(ApiKey, "change", api_key.pk)).content.decode()
    [link] = re.findall(r'href="([^"]*/apirequest/[^"]+)"', text.partition("requests")[2])

    assert "Read orders and refills" in text
    assert "203.0.113.0/24" in text
    assert "1 / 500" in text
    assert api_key.digest not in text
    assert list(client.get(link).context["cl"].result_list) == [entries[0]]
    assert client.get(page(ApiRequest, "change", entries[1].pk)).status_code == 200
    assert (
        client.post(page(ApiRequest, "delete", entries[1].pk), {"post": "yes"}).status_code == 403
    )


def test_address_can_be_marked_as_verified(client, staff):
    customer = UserFactory()
    address = EmailAddress.objects.create(user=customer, email=customer.email)

    client.post(
        reverse("admin:account_emailaddress_changelist"),
        {"action": "verify_selected", "_selected_action": [address.pk]},
    )

    address.refresh_from_db()
    assert address.verified


def test_second_factor_can_only_be_taken_away(client, staff):
    factor = Authenticator.objects.create(
        user=UserFactory(), type=Authenticator.Type.TOTP, data={"secret": "x"}
    )
    change = reverse("admin:mfa_authenticator_change", args=[factor.pk])

    assert client.post(change, {"data": "{}"}).status_code == 403
    client.post(reverse("admin:mfa_authenticator_delete", args=[factor.pk]), {"post": "yes"})

    assert not Authenticator.objects.exists()


# --- rates ----------------------------------------------------------------------------------------


def test_rate_is_added_by_whoever_is_signed_in(client, staff):
    client.post(
        page(ExchangeRate, "add"), {"base": "USD", "quote": "XAF", "rate": "612.5000000001"}
    )

    rate = ExchangeRate.objects.get()
    assert (rate.base, rate.quote, rate.rate, rate.actor) == (
        "USD",
        "XAF",
        Decimal("612.5000000001"),
        staff,
    )


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"quote": "USD"}, "__all__"),
        ({"rate": "0"}, "rate"),
        ({"rate": "-1"}, "rate"),
        ({"rate": "1.00000000001"}, "rate"),
        ({"rate": "999999999.5"}, "rate"),
        ({"rate": "NaN"}, "rate"),
        ({"base": "usd"}, "base"),
        ({"base": ""}, "base"),
    ],
)
def test_bad_rate_is_refused(client, staff, change, where):
    form = {"base": "USD", "quote": "XAF", "rate": "600", **change}

    response = client.post(page(ExchangeRate, "add"), form)

    assert list(response.context["adminform"].form.errors) == [where]
    assert not ExchangeRate.objects.exists()


def test_rates_are_never_changed_or_deleted(client, staff):
    rate = ExchangeRateFactory()

    answers = [
        client.post(page(ExchangeRate, "change", rate.pk), {"rate": "1"}).status_code,
        client.post(page(ExchangeRate, "delete", rate.pk), {"post": "yes"}).status_code,
    ]

    assert answers == [403, 403]
    assert ExchangeRate.objects.get().rate == rate.rate


def test_newest_rate_of_each_pair_is_in_force_and_first(client, staff):
    old, other, new = (
        ExchangeRateFactory(rate=Decimal(600)),
        ExchangeRateFactory(quote="TRY", rate=Decimal(40)),
        ExchangeRateFactory(rate=Decimal(610)),
    )

    rows = client.get(page(ExchangeRate, "changelist")).context["cl"].result_list

    assert [(rate, rate.replaced) for rate in rows] == [(new, False), (other, False), (old, True)]


# --- alerts ---------------------------------------------------------------------------------------


def test_list_shows_open_alerts_and_resolves_them(client, staff):
    alert("sync_failed", subject="provider:1", message="time-out")
    opened = Alert.objects.get()

    first = client.get(page(Alert, "changelist")).context["cl"].result_list
    answer = action(client, Alert, "resolve_selected", opened)
    then = client.get(page(Alert, "changelist")).context["cl"].result_list
    resolved = (
        client.get(page(Alert, "changelist"), {"state": "resolved"}).context["cl"].result_list
    )
    every = client.get(page(Alert, "changelist"), {"state": "all"}).context["cl"].result_list

    assert [list(rows) for rows in (first, then, resolved, every)] == [
        [opened],
        [],
        [opened],
        [opened],
    ]
    assert told(answer) == ["1 alert resolved."]
    assert log() == [(staff.email, str(opened.pk), "Resolved")]


def test_resolving_needs_its_permission(client, member):
    member("view_alert")
    alert("sync_failed", subject="provider:1", message="time-out")

    action(client, Alert, "resolve_selected", Alert.objects.get())

    assert Alert.objects.get().resolved_at is None


def test_alert_leads_to_what_it_is_about(client, staff):
    alert("sync_failed", subject="provider:7", message="time-out")
    alert("queue_stuck", subject="queue", message="late")

    text = client.get(page(Alert, "changelist")).content.decode()

    links = re.findall(r'href="(/admin/catalog/provider/[^"]+)"[^>]*>\s*provider:7', text)
    assert links == ["/admin/catalog/provider/7/change/"]
