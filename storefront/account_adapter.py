"""How sign-up, sign-in and the second factor fit this shop."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context as allauth_context
from allauth.mfa.adapter import DefaultMFAAdapter
from cryptography.fernet import InvalidToken
from django.conf import settings

from accounts.encryption import SecretUnreadable, cipher


class AccountAdapter(DefaultAccountAdapter):
    """E-mail addresses are the only name; nothing is generated from them."""

    def populate_username(self, request: object, user: object) -> None:
        return None

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Mails are signed by the shop, not by the name of its host."""
        host = allauth_context.request.get_host()
        shop = SimpleNamespace(name=settings.STORE_NAME, domain=host)
        super().send_mail(template_prefix, email, {"current_site": shop, **context})

    def is_safe_url(self, url: str | None) -> bool:
        """Whether a form may lead there; what cannot be read as an address may not."""
        try:
            return bool(super().is_safe_url(url))
        except ValueError:
            return False


class MfaAdapter(DefaultMFAAdapter):
    """Secrets of authenticator apps and recovery codes are stored encrypted."""

    def encrypt(self, text: str) -> str:
        return cipher().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        try:
            return cipher().decrypt(encrypted_text.encode()).decode()
        except InvalidToken:
            raise SecretUnreadable("second factor") from None
