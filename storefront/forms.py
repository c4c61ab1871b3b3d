"""The website's forms."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import available_timezones

from allauth.account.forms import SignupForm as BaseSignupForm
from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from accounts.api_keys import KeyTerms
from accounts.models import ApiKey, Permission, User, Wallet, WebhookType, every_permission
from accounts.money import Currency
from storefront.pages.purses import likely_currency

_LONGEST_LIFE = 10  # years that an API key may be given


class SignupForm(BaseSignupForm):
    """Sign-up by e-mail address and password, and the currency to pay in."""

    currency = forms.ChoiceField(
        label=_("Currency to pay in"),
        choices=Currency.choices,
        initial=likely_currency,
        help_text=_("You can use the others too, and change this later."),
    )
    field_order = ["email", "password1", "currency"]

    def save(self, request: HttpRequest) -> User | None:
        """The new user, who keeps the language of the page that they signed up on."""
        user: User | None = super().save(request)
        if user is not None:
            user.currency = self.cleaned_data["currency"]
            user.language = get_language() or ""
            user.save(update_fields=["currency", "language"])
        return user


class ProfileForm(forms.ModelForm):  # type: ignore[type-arg]
    """What customers decide about themselves."""

    class Meta:
        model = User
        fields = ["name", "language", "currency", "time_zone"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].widget.attrs["autocomplete"] = "name"
        self.fields["name"].help_text = _("How we address you; nobody else sees it.")
        self.fields["language"] = forms.ChoiceField(
            label=_("Language"),
            choices=[("", _("As the browser asks")), *settings.LANGUAGES],
            required=False,
        )
        self.fields["currency"].help_text = _("Prices are shown in it, and its wallet pays first.")
        self.fields["time_zone"] = forms.ChoiceField(
            label=_("Time zone"),
            choices=[(zone, zone.replace("_", " ")) for zone in sorted(available_timezones())],
        )


class ApiKeyTermsForm(forms.Form):
    """What a key is called, and what holds for it."""

    name = forms.CharField(
        label=_("Name"),
        max_length=60,
        help_text=_("Where you will use it, for example the name of your program."),
    )
    permissions = forms.MultipleChoiceField(
        label=_("What the key may do"),
        choices=Permission.choices,
        initial=every_permission,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": _("Choose at least one permission.")},
    )
    expires_at = forms.DateField(
        label=_("Last day"),
        required=False,
        input_formats=["%Y-%m-%d"],
        widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"}),
        help_text=_("The key works until this day ends in your time zone. Empty: without end."),
    )
    networks = forms.CharField(
        label=_("Only from these addresses"),
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3, "class": "written", "spellcheck": "false"}),
        help_text=_(
            "One a line: an address such as 203.0.113.7, or a network such as 203.0.113.0/24."
            " Empty: from anywhere."
        ),
    )

    def __init__(self, *args: Any, key: ApiKey | None = None, **kwargs: Any) -> None:
        """`key` is the one that is being changed."""
        self.key = key
        super().__init__(*args, **kwargs)
        today = timezone.localdate()
        self.latest = today.replace(year=today.year + _LONGEST_LIFE, day=1)
        self.fields["expires_at"].widget.attrs |= {
            "min": today.isoformat(),
            "max": self.latest.isoformat(),
        }
        if key is not None:
            self.initial = {
                "name": key.name,
                "permissions": key.permissions,
                "expires_at": key.expires_at and _last_day(key.expires_at),
                "networks": "\n".join(key.networks),
                **self.initial,
            }

    def clean_expires_at(self) -> datetime | None:
        """The moment at which the chosen day ends."""
        day: date | None = self.cleaned_data["expires_at"]
        if day is None:
            return None
        if self.key and self.key.expires_at and "expires_at" not in self.changed_data:
            return self.key.expires_at
        if not timezone.localdate() <= day <= self.latest:
            raise ValidationError(
                _("Choose a day between today and %(latest)s."),
                params={"latest": date_format(self.latest)},
            )
        return timezone.make_aware(datetime.combine(day + timedelta(days=1), time.min))

    def clean_networks(self) -> tuple[str, ...]:
        """The lines; commas divide as well."""
        text: str = self.cleaned_data["networks"]
        return tuple(text.replace(",", " ").split())

    def terms(self) -> KeyTerms:
        """What was chosen."""
        return KeyTerms(
            permissions=tuple(self.cleaned_data["permissions"]),
            expires_at=self.cleaned_data["expires_at"],
            networks=self.cleaned_data["networks"],
        )

    @property
    def is_restricted(self) -> bool:
        """Whether the part that is folded away has something to show."""
        folded = ("expires_at", "networks")
        return any(self[name].value() or self[name].errors for name in folded)


class ApiKeyForm(ApiKeyTermsForm):
    """A new API key."""

    kind = forms.ChoiceField(
        label=_("Kind"),
        choices=[
            ("live", _("Real: orders are paid from your wallet and delivered")),
            ("sandbox", _("Sandbox: play money, nothing is bought; to build and test")),
        ],
        initial="live",
        widget=forms.RadioSelect,
    )
    currency = forms.ChoiceField(
        label=_("Currency"),
        choices=Currency.choices,
        help_text=_("Prices and charges of this key are in this currency, from this wallet."),
    )
    field_order = ["kind", "name", "currency"]


class RegenerateForm(forms.Form):
    """For how long the old text of a key goes on working."""

    grace = forms.TypedChoiceField(
        label=_("The old key stops working"),
        choices=[
            (0, _("At once")),
            (3600, _("In one hour")),
            (86400, _("In one day")),
            (7 * 86400, _("In seven days")),
        ],
        initial=86400,
        coerce=lambda seconds: timedelta(seconds=int(seconds)),
        widget=forms.RadioSelect,
    )


class WebhookForm(forms.Form):
    """An endpoint's address, what it is told, and a note: what an address may be, the domain
    says."""

    url = forms.CharField(
        label=_("Address"),
        max_length=500,
        widget=forms.URLInput(attrs={"placeholder": "https://", "autocomplete": "url"}),
        help_text=_("A public https address of your program."),
    )
    events = forms.MultipleChoiceField(
        label=_("Tell it when"),
        choices=WebhookType.choices,
        widget=forms.CheckboxSelectMultiple,
    )
    description = forms.CharField(label=_("Note"), max_length=100, required=False)


class NewWebhookForm(WebhookForm):
    """A new endpoint, which starts with all events."""

    sandbox = forms.BooleanField(
        label=_("For sandbox orders"),
        required=False,
        help_text=_("It is told of the orders of your sandbox keys, and of no real ones."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["events"].initial = WebhookType.values


class NewWebhookSecretForm(RegenerateForm):
    """For how long the old secret signs beside the new one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["grace"].label = _("The old secret stops signing")


class LowMarksForm(forms.Form):
    """The mark of each wallet below which it is low; a field for each currency."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for code, name in Currency.choices:
            mark = Wallet._meta.get_field("low_at").formfield(label=name, required=False)
            self.fields[code] = mark


def _last_day(ends: datetime) -> date:
    return timezone.localdate(ends - timedelta(microseconds=1))
