"""How sign-up and sign-in fit this shop."""

from __future__ import annotations

from allauth.account.adapter import DefaultAccountAdapter


class AccountAdapter(DefaultAccountAdapter):
    """E-mail addresses are the only name; nothing is generated from them."""

    def populate_username(self, request: object, user: object) -> None:
        return None
