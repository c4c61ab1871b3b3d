"""What all addresses of the REST dialect share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import translation
from django.utils.translation.trans_real import parse_accept_lang_header
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Empty, Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import api_keys
from accounts.models import ApiDialect, ApiKey, Permission, User
from storefront.api import gate
from storefront.api.parsing import NoFiles
from storefront.api.rendering import dumps

LANGUAGES = ("fr", "en", "tr")
_PLACEHOLDER = re.compile(r"<[^>]+>")


def language_of(request: HttpRequest) -> str:
    """The language of the answer's texts: French unless Accept-Language prefers another of ours."""
    for tag, quality in parse_accept_lang_header(request.headers.get("Accept-Language", "")):
        language = tag.partition("-")[0]
        if quality and language in LANGUAGES:
            return language
    return LANGUAGES[0]


class AlwaysJSON(BaseContentNegotiation):
    """Programs send all kinds of Accept headers and read the one kind of answer there is."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        kind = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == kind), None)

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class RestView(APIView):
    """An address of the dialect. A method that is in `http_method_names` must be in `needs`; where
    there is GET, there is HEAD."""

    content_negotiation_class = AlwaysJSON
    http_method_names = ["get"]
    # What a key must be allowed, by method.
    needs: Mapping[str, Permission] = {}

    def setup(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().setup(request, *args, **kwargs)
        if "get" in self.http_method_names:
            self.http_method_names = [*self.http_method_names, "head"]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        visit = gate.begin(request, ApiDialect.REST)
        language = language_of(request)
        request.upload_handlers = [NoFiles(request)]
        with translation.override(language):
            response = super().dispatch(request, *args, **kwargs)
            if isinstance(response, Response):
                # Now, not after the view: lazy texts must meet this language.
                response.render()
        response.headers["Content-Language"] = language
        visit.leave(
            response,
            action=self.logged_as(request),
            result=_result(response),
            request=self._asked(),
        )
        return response

    def check_permissions(self, request: Request) -> None:
        super().check_permissions(request)
        method = str(request.method)
        # Any other method is told that it is not available here.
        if isinstance(request.auth, ApiKey) and method.lower() in self.http_method_names:
            api_keys.require(request.auth, self.needs["GET" if method == "HEAD" else method])

    def logged_as(self, request: HttpRequest) -> str:
        """Method and address as the contract writes them: GET /orders/{id}."""
        assert request.resolver_match is not None
        route = _PLACEHOLDER.sub("{id}", request.resolver_match.route)
        return f"{request.method} {route.removeprefix('api/v1').rstrip('/')}"

    def _asked(self) -> str:
        """Path, query and body as they were read; a body that nobody has read is not read now."""
        path = self.request._request.get_full_path()
        body = vars(self.request).get("_full_data", Empty)
        return f"{path}\n{dumps(body).decode()}" if body and body is not Empty else path


def key_of(request: Request) -> ApiKey:
    """The key that the request was let in with."""
    assert isinstance(request.auth, ApiKey)
    return request.auth


def customer_of(request: Request) -> User:
    """The account that the request is about, of a sandbox key the twin."""
    return key_of(request).customer


def _result(response: HttpResponseBase) -> str:
    data = getattr(response, "data", None)
    if response.status_code >= 400 and isinstance(data, Mapping):
        return str(data["code"])
    return gate.OK
