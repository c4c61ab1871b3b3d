"""Who is calling: the API key of a request, for both dialects."""

from __future__ import annotations

from allauth.account.adapter import get_adapter
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts import api_keys
from accounts.models import ApiKey, User


def key_in_headers(request: HttpRequest) -> str:
    """The key of `X-API-Key`, else of `Authorization: Bearer`; "" where there is none."""
    if named := request.headers.get("X-API-Key", "").strip():
        return named
    scheme, _, text = request.headers.get("Authorization", "").strip().partition(" ")
    return text.strip() if scheme.lower() == "bearer" else ""


def client_address(request: HttpRequest) -> str:
    """The client's address: what our own proxies say (TRUSTED_PROXY_COUNT), else the other end of
    the connection; not always readable."""
    try:
        return str(get_adapter().get_client_ip(request))
    except (PermissionDenied, ImproperlyConfigured):
        # Came around the proxies, or names no address: no reason to refuse a good key.
        return str(request.META.get("REMOTE_ADDR", ""))


class ApiKeyAuthentication(BaseAuthentication):
    """Sets `request.user` to the customer and `request.auth` to the key.

    Raises accounts.api_keys.InvalidApiKey or AccountSuspended.
    """

    def authenticate(self, request: Request) -> tuple[User, ApiKey]:
        # Other authentications (sessions, Basic) are not looked at: a browser's cookie must never
        # spend money through the API.
        api_key = api_keys.authenticate(
            key_in_headers(request._request), address=client_address(request._request)
        )
        return api_key.user, api_key
