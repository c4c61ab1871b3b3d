"""Customers and staff: their accounts, keys, addresses, second factors and permissions."""

from __future__ import annotations

from typing import Any

from allauth.account.admin import EmailAddressAdmin as BaseEmailAddressAdmin
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as BaseGroupAdmin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.models import Group, Permission
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from accounts import api_keys
from accounts.admin.acting import ActingAdmin, StaffAction
from accounts.admin.reading import ReadOnlyAdmin, shown
from accounts.models import ApiKey, User, Wallet

for model in (Group, EmailAddress, Authenticator):
    admin.site.unregister(model)


class WalletInline(TabularInline):
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

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(User)
class UserAdmin(BaseUserAdmin, ModelAdmin):  # type: ignore[type-arg]
    """People are suspended, never deleted: their orders and money stay theirs.

    Only superusers touch staff and permissions, or the right to edit customers would be the right
    to become a superuser.
    """

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("email", "name", "state", "is_staff", "currency", "date_joined", "last_login")
    list_filter = ("is_active", "is_staff", "currency", "language")
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
        changed = list(people.exclude(is_active=active))
        for user in changed:
            self.log_change(request, user, "Activated" if active else "Suspended")
        return User.objects.filter(pk__in=[user.pk for user in changed]).update(is_active=active)


def _revoke(api_key: ApiKey, staff: User, answers: dict[str, Any]) -> str:
    api_keys.revoke(api_key)
    return gettext("The key is revoked.")


REVOKE = StaffAction(
    title=_("Revoke"),
    explanation=_("Programs that use this key are refused from now on. It cannot be undone."),
    do=_revoke,
    facts=lambda api_key: [
        (_("customer"), str(api_key.user)),
        (_("name"), api_key.name),
        (_("prefix"), f"{api_key.prefix}…"),
    ],
)


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin, ActingAdmin):
    """Keys are made by their owners; staff can only end them. The digest is never shown."""

    list_display = (
        "prefix_shown",
        "name",
        "user",
        "currency",
        "state",
        "created_at",
        "last_used_at",
        "last_used_ip",
    )
    list_filter = (("revoked_at", admin.EmptyFieldListFilter), "currency")
    list_select_related = ("user",)
    search_fields = ("prefix__startswith", "name", "user__email")
    fields = (
        "prefix_shown",
        "name",
        "user",
        "currency",
        "created_at",
        "last_used_at",
        "last_used_ip",
        "revoked_at",
    )
    actions_detail = ("revoke",)

    @display(description=_("prefix"), ordering="prefix")
    def prefix_shown(self, api_key: ApiKey) -> str:
        return f"{api_key.prefix}…"

    @display(description=_("state"), label={"active": "success", "revoked": "danger"})
    def state(self, api_key: ApiKey) -> tuple[str, Any]:
        return ("revoked", _("Revoked")) if api_key.revoked_at else ("active", _("Active"))

    @action(description=REVOKE.title, icon="key_off", permissions=["act"])
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(request, object_id, REVOKE)


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
