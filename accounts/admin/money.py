"""Wallets, the ledger and exchange rates: seen by staff, moved only through the ledger."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import uuid4

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.paginator import InfinitePaginator
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminRadioSelectWidget,
)

from accounts import ledger, statement
from accounts.admin.acting import ActingAdmin, ReasonForm, StaffAction
from accounts.admin.reading import (
    DayRangeFilter,
    PlayFilter,
    ReadOnlyAdmin,
    ledger_context,
    moment,
    shown,
)
from accounts.models import Account, EntryKind, ExchangeRate, JournalEntry, Posting, User, Wallet
from accounts.money import AMOUNT_PLACES, AMOUNT_STEP, RateField

GIVE, TAKE = "give", "take"
LATEST = 20
# A slip of the keyboard beyond this would cost more than typing it twice.
LARGEST_ADJUSTMENT = Decimal(10**9)


def _new_key() -> str:
    return f"adjustment:{uuid4()}"


class AdjustmentForm(ReasonForm):
    """The key is made with the form: sent twice, the form moves money once."""

    direction = forms.ChoiceField(
        label=_("Direction"),
        choices=[(GIVE, _("Give to the customer")), (TAKE, _("Take from the customer"))],
        widget=UnfoldAdminRadioSelectWidget,
    )
    amount = forms.DecimalField(
        label=_("Amount"),
        min_value=AMOUNT_STEP,
        max_value=LARGEST_ADJUSTMENT,
        max_digits=19,
        decimal_places=AMOUNT_PLACES,
        widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}),
    )
    key = forms.CharField(
        initial=_new_key,
        validators=[RegexValidator(r"^adjustment:[0-9a-f-]{36}\Z")],
        widget=forms.HiddenInput,
    )
    field_order = ["direction", "amount", "reason", "key"]


def _adjust(wallet: Wallet, staff: User, answers: dict[str, Any]) -> str:
    amount = answers["amount"] if answers["direction"] == GIVE else -answers["amount"]
    try:
        entry = ledger.adjust(
            wallet, amount, key=answers["key"], reason=answers["reason"], actor=staff
        )
    except ledger.InsufficientFunds as refusal:
        raise ValidationError(
            gettext("The wallet holds only %(available)s; nothing was taken.")
            % {"available": shown(refusal.available, refusal.currency)}
        ) from refusal
    except ledger.EntryKeyReused as refusal:
        raise ValidationError(
            gettext("This form was sent before, with other figures. Open it anew.")
        ) from refusal
    posting = entry.postings.get(wallet=wallet)
    assert posting.balance_after is not None
    return gettext("Balance before: %(before)s. Balance now: %(after)s.") % {
        "before": shown(posting.balance_after - posting.amount, wallet.currency),
        "after": shown(posting.balance_after, wallet.currency),
    }


ADJUST = StaffAction(
    title=_("Adjust balance"),
    explanation=_(
        "Moves money between this wallet and the house account “adjustments”. It cannot be undone, "
        "only adjusted back."
    ),
    do=_adjust,
    facts=lambda wallet: [
        (_("customer"), str(wallet.user)),
        (_("balance now"), shown(wallet.balance, wallet.currency)),
    ],
    form=AdjustmentForm,
)


class TwinsWallets(PlayFilter):
    is_play = Q(user__sandbox_of__isnull=False)


class PlayEntries(PlayFilter):
    is_play = Q(postings__account=Account.PLAY)


class PlayPostings(PlayFilter):
    is_play = Q(account=Account.PLAY) | Q(wallet__user__sandbox_of__isnull=False)


@admin.register(Wallet)
class WalletAdmin(ReadOnlyAdmin, ActingAdmin):
    """Balances change by the ledger alone; the action posts to it."""

    list_display = ("user", "currency", "balance_shown")
    list_filter = (TwinsWallets, "currency")
    list_select_related = ("user",)
    search_fields = ("user__email", "user__name")
    search_help_text = _("Customer's e-mail address or name")
    ordering = ("-pk",)
    fields = ("user", "currency", "balance_shown")
    change_form_outer_after_template = "admin/ledger_table.html"
    actions_detail = ("adjust_balance",)

    @display(description=_("balance"), ordering="balance")
    def balance_shown(self, wallet: Wallet) -> str:
        return shown(wallet.balance, wallet.currency)

    @action(description=ADJUST.title, icon="price_change", permissions=["act"])
    def adjust_balance(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(request, object_id, ADJUST)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], obj: Any = None, **kwargs: Any
    ) -> HttpResponse:
        latest = statement.transactions(obj)[:LATEST]
        context |= ledger_context(request, latest, title=_("Latest transactions"))
        page: HttpResponse = super().render_change_form(request, context, obj=obj, **kwargs)
        return page


_KIND_COLOURS = {
    EntryKind.CHARGE: "info",
    EntryKind.REFUND: "warning",
    EntryKind.ADJUSTMENT: "danger",
}


@admin.register(JournalEntry)
class JournalEntryAdmin(ReadOnlyAdmin):
    """One movement of money, with all its legs."""

    list_display = ("key_shown", "kind_label", "amounts", "reason", "actor", "time")
    list_filter = (PlayEntries, "kind", ("created_at", DayRangeFilter))
    list_filter_submit = True
    list_select_related = ("actor",)
    search_fields = ("key__startswith", "subject__exact")
    search_help_text = _("Key or its beginning, or a subject such as order:42")
    ordering = ("-created_at",)
    paginator = InfinitePaginator
    fields = ("key", "kind", "subject", "reason", "actor", "created_at")
    change_form_outer_after_template = "admin/ledger_table.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[JournalEntry]:
        queryset: QuerySet[JournalEntry] = super().get_queryset(request)
        return queryset.prefetch_related("postings")

    @display(description=_("key"), ordering="key")
    def key_shown(self, entry: JournalEntry) -> str:
        return format_html('<span class="break-anywhere">{}</span>', entry.key)

    @display(description=_("kind"), ordering="kind", label=_KIND_COLOURS)
    def kind_label(self, entry: JournalEntry) -> tuple[str, str]:
        return entry.kind, entry.get_kind_display()

    @display(description=_("time"), ordering="created_at")
    def time(self, entry: JournalEntry) -> str:
        return moment(entry.created_at)

    @display(description=_("moved"))
    def amounts(self, entry: JournalEntry) -> str:
        gains = [posting for posting in entry.postings.all() if posting.amount > 0]
        return ", ".join(shown(posting.amount, posting.currency) for posting in gains)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], obj: Any = None, **kwargs: Any
    ) -> HttpResponse:
        context |= ledger_context(request, obj.postings.order_by("pk"), title=_("Postings"))
        page: HttpResponse = super().render_change_form(request, context, obj=obj, **kwargs)
        return page


@admin.register(Posting)
class PostingAdmin(ReadOnlyAdmin):
    """The legs of all entries, newest first."""

    list_display = ("pk", "entry", "account", "wallet", "amount_shown", "after_shown", "time")
    list_filter = (PlayPostings, "account", "currency", ("entry__created_at", DayRangeFilter))
    list_filter_submit = True
    list_select_related = ("entry", "wallet__user")
    search_fields = ("entry__key__startswith", "entry__subject__exact", "wallet__user__email")
    search_help_text = _("Key or its beginning, a subject such as order:42, or an e-mail address")
    ordering = ("-pk",)
    paginator = InfinitePaginator
    fields = ("entry", "account", "wallet", "amount_shown", "after_shown", "time")

    @display(description=_("amount"))
    def amount_shown(self, posting: Posting) -> str:
        return shown(posting.amount, posting.currency)

    @display(description=_("balance after"), empty_value="–")
    def after_shown(self, posting: Posting) -> str | None:
        after = posting.balance_after
        return None if after is None else shown(after, posting.currency)

    @display(description=_("time"))
    def time(self, posting: Posting) -> str:
        return moment(posting.entry.created_at)


class ExchangeRateForm(forms.ModelForm):  # type: ignore[type-arg]
    """A new row; the one before it stays for whoever asks what the rate was."""

    def clean(self) -> dict[str, Any]:
        answers: dict[str, Any] = super().clean() or self.cleaned_data
        if answers.get("base") and answers["base"] == answers.get("quote"):
            raise ValidationError(_("Choose two different currencies."))
        return answers


@admin.register(ExchangeRate)
class ExchangeRateAdmin(ModelAdmin):
    """Rates are added; the newest of a pair applies."""

    form = ExchangeRateForm
    formfield_overrides = {RateField: {"widget": UnfoldAdminDecimalFieldWidget}}
    list_display = ("pair", "rate_shown", "in_force", "since", "actor")
    list_filter = ("base", "quote")
    list_select_related = ("actor",)
    ordering = ("-pk",)
    fields = ("base", "quote", "rate")
    readonly_fields = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[ExchangeRate]:
        queryset: QuerySet[ExchangeRate] = super().get_queryset(request)
        newer = ExchangeRate.objects.filter(
            base=OuterRef("base"), quote=OuterRef("quote"), pk__gt=OuterRef("pk")
        )
        return queryset.annotate(replaced=Exists(newer))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("base", "quote", "rate_shown", "created_at", "actor") if obj else self.fields

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        obj.actor = request.user
        super().save_model(request, obj, form, change)

    @display(description=_("pair"), ordering="base")
    def pair(self, rate: ExchangeRate) -> str:
        return f"{rate.base} → {rate.quote}"

    @display(description=_("rate"), ordering="rate")
    def rate_shown(self, rate: ExchangeRate) -> str:
        return f"1 {rate.base} = {shown(rate.rate, rate.quote)}"

    @display(description=_("since"), ordering="created_at")
    def since(self, rate: ExchangeRate) -> str:
        return moment(rate.created_at)

    @display(description=_("in force"), boolean=True)
    def in_force(self, rate: ExchangeRate) -> bool:
        return not rate.replaced  # type: ignore[attr-defined]
