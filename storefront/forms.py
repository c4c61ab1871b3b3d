"""The website's forms."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

from allauth.account.forms import SignupForm as BaseSignupForm
from django import forms
from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from accounts.models import ApiKey, User
from accounts.money import Currency
from storefront.pages.purses import likely_currency


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


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    """A new API key."""

    class Meta:
        model = ApiKey
        fields = ["name", "currency"]
        help_texts = {
            "name": _("Where you will use it, for example the name of your program."),
            "currency": _("Prices and charges of this key are in this currency, from this wallet."),
        }
