"""Customers and staff: their accounts, addresses, second factors and permissions."""

from __future__ import annotations

from typing import Any

from allauth.account.admin import EmailAddressAdmin as BaseEmailAddressAdmin
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as BaseGroupAdmin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.models import Group, Permission
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from accounts.admin.reading import OnlyRead, PlayFilter, ReadOnlyAdmin, shown
from accounts.models import User, Wallet

for model in (Group, EmailAddress, Authenticator):
    admin.site.unregister(model)


class WalletInline(OnlyRead, TabularInline):
    """What the customer has; each row leads to the wallet's own page."""

    model = Wallet
    fields = ("page", "balance_shown")
    readonly_fields = fields
    extra = 0
    hide_title = True

    @display(description=_("wallet"))
    def page(self, wallet: Wallet) -> str:
        url = reverse("admin:accounts_wallet_change", args=[wallet.pk])
        return format_html('<a class="text-link" href="{}">{}</a>', url, wallet.currency)

    @display(description=_("balance"))
    def balance_shown(self, wallet: Wallet) -> str:
        return shown(wallet.balance, wallet.currency)


class Twins(PlayFilter):
    is_play = Q(sandbox_of__isnull=False)


@admin.register(User)
class UserAdmin(BaseUserAdmin, ModelAdmin):  # type: ignore[type-arg]
    """People are suspended, never deleted: their orders and money stay theirs.

    Only superusers touch staff and permissions, or the right to edit customers would be the right
    to become a superuser. Nobody edits the accounts that sandbox keys act for.
    """

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("email", "name", "state", "is_staff", "currency", "date_joined", "last_login")
    list_filter = (Twins, "is_active", "is_staff", "currency", "language")
    search_fields = ("email", "name")
    ordering = ("-pk",)
    show_full_result_count = False
    readonly_fields = ("last_login", "date_joined")
    # The two-column choosers of Django are wider than a phone.
    filter_horizontal = ()
    autocomplete_fields = ("groups", "user_permissions")
    fieldsets = (
        (None, {"fields": ("email", "password", "name", "is_active")}),
        (_("Preferences"), {"fields": ("language", "currency", "time_zone")}),
        (_("Limits of API keys"), {"fields": ("api_per_minute", "api_per_day")}),
        (
            _("Staff"),
            {"fields": ("is_staff", "is_superuser", "groups", "user_permissions")},
        ),
        (_("Dates"), {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (None, {"fields": ("email", "name", "usable_password", "password1", "password2")}),
    )
    inlines = (WalletInline,)
    actions = ("suspend_selected", "activate_selected")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if isinstance(obj, User) and obj.is_twin:
            return False
        if isinstance(obj, User) and obj.is_staff and not request.user.is_superuser:
            return False
        return bool(super().has_change_permission(request, obj))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        fields = super().get_readonly_fields(request, obj)
        if request.user.is_superuser:
            return tuple(fields)
        return (*fields, "is_staff", "is_superuser", "groups", "user_permissions")

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change and "email" in form.changed_data:
            # Else the old address would go on signing in and receiving password links.
            EmailAddress.objects.filter(user=obj).delete()
            EmailAddress.objects.create(user=obj, email=obj.email, primary=True)

    @display(description=_("state"), label={True: "success", False: "danger"}, ordering="is_active")
    def state(self, user: User) -> tuple[bool, Any]:
        return user.is_active, _("Active") if user.is_active else _("Suspended")

    @action(description=_("Suspend"), permissions=["change"])
    def suspend_selected(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        others = queryset.exclude(email=request.user.get_username())
        number = self._set_active(request, others, active=False)
        told = ngettext("%(number)s person suspended.", "%(number)s people suspended.", number)
        messages.success(request, told % {"number": number})

    @action(description=_("Activate"), permissions=["change"])
    def activate_selected(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        number = self._set_active(request, queryset, active=True)
        told = ngettext("%(number)s person activated.", "%(number)s people activated.", number)
        messages.success(request, told % {"number": number})

    def _set_active(self, request: HttpRequest, people: QuerySet[User], *, active: bool) -> int:
        if not request.user.is_superuser:
            people = people.filter(is_staff=False)
        changed = list(people.filter(sandbox_of=None).exclude(is_active=active))
        for user in changed:
            self.log_change(request, user, "Activated" if active else "Suspended")
        return User.objects.filter(pk__in=[user.pk for user in changed]).update(is_active=active)


@admin.register(Group)
class GroupAdmin(BaseGroupAdmin, ModelAdmin):
    """Named sets of permissions."""

    filter_horizontal = ()
    autocomplete_fields = ("permissions",)


@admin.register(Permission)
class PermissionAdmin(ReadOnlyAdmin):
    """What can be permitted; the list comes with the program."""

    list_display = ("name", "codename", "content_type")
    list_filter = ("content_type__app_label",)
    list_select_related = ("content_type",)
    search_fields = ("name", "codename")
    ordering = ("content_type__app_label", "content_type__model", "codename")


@admin.register(EmailAddress)
class EmailAddressAdmin(ReadOnlyAdmin, BaseEmailAddressAdmin):
    """Addresses that people sign in with, and whether they proved that they are theirs."""

    list_select_related = ("user",)
    actions = ("verify_selected",)

    @action(description=_("Mark as verified"), permissions=["act"])
    def verify_selected(self, request: HttpRequest, queryset: QuerySet[EmailAddress]) -> None:
        self.make_verified(request, queryset)


@admin.register(Authenticator)
class AuthenticatorAdmin(ReadOnlyAdmin):
    """Second factors. Their secrets are never shown; deleting one lets somebody who lost it in."""

    list_display = ("user", "type", "created_at", "last_used_at")
    list_filter = ("type",)
    list_select_related = ("user",)
    search_fields = ("user__email",)
    fields = ("user", "type", "created_at", "last_used_at")
    ordering = ("-pk",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(ModelAdmin.has_delete_permission(self, request, obj))
