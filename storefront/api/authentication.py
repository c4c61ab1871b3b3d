"""The REST framework's way to the gate."""

from __future__ import annotations

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts.models import ApiKey, User
from storefront.api import gate


class ApiKeyAuthentication(BaseAuthentication):
    """Sets `request.user` to the key's owner and `request.auth` to the key.

    For a request that has begun its visit (storefront/api/gate.py); raises what entering raises.
    """

    def authenticate(self, request: Request) -> tuple[User, ApiKey]:
        # Other authentications (sessions, Basic) are not looked at: a browser's cookie must never
        # spend money through the API.
        visit = gate.visit_of(request._request)
        api_key = visit.enter(gate.key_in_headers(request._request))
        return api_key.user, api_key
