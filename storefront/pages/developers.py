"""The pages for those who write programs: both APIs, webhooks, and trying them out. Public."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.models import Permission, WebhookType
from catalog.order_types import ORDER_TYPES, ChargedOn
from storefront.pages import developer_tables as tables
from storefront.pages.samples import LANGUAGES, Facts, facts_for, sample


@require_safe
def developers(request: HttpRequest) -> HttpResponse:
    """Where to begin: keys, limits, sandbox keys, statuses."""
    return _page(
        request,
        "index",
        permissions=Permission.choices,
        headers=tables.HEADERS,
        statuses=tables.STATUSES,
        magic=tables.MAGIC,
        per_minute=getattr(request.user, "api_per_minute", None) or settings.API_PER_MINUTE,
        per_day=getattr(request.user, "api_per_day", None) or settings.API_PER_DAY,
    )


@require_safe
def panel(request: HttpRequest) -> HttpResponse:
    """The panel dialect."""
    return _page(
        request,
        "panel",
        topics=("panel_order", "panel_many"),
        actions=tables.ACTIONS,
        refusals=[refusal for refusal in tables.REFUSALS if refusal.panel],
        texts=tables.PANEL_TEXTS,
        order_types=ORDER_TYPES.items(),
        per_post=ChargedOn.POSTS,
    )


@require_safe
def rest(request: HttpRequest) -> HttpResponse:
    """The REST dialect."""
    return _page(
        request,
        "rest",
        topics=("rest_order", "rest_many", "rest_pages"),
        endpoints=tables.ENDPOINTS,
        refusals=tables.REFUSALS,
    )


@require_safe
def webhooks(request: HttpRequest) -> HttpResponse:
    """What is sent, and how its receiver tells that it is genuine."""
    return _page(
        request,
        "webhooks",
        topics=("webhook",),
        types=WebhookType.choices,
        message=tables.MESSAGE,
        vector=tables.VECTOR,
    )


@require_safe
def try_it(request: HttpRequest) -> HttpResponse:
    """A form that asks the APIs with a sandbox key."""
    return _page(request, "try", magic=tables.MAGIC)


@require_safe
def reference(request: HttpRequest) -> HttpResponse:
    """Every address and field, drawn from the OpenAPI document."""
    return _page(request, "reference")


def _page(
    request: HttpRequest, name: str, *, topics: tuple[str, ...] = (), **context: Any
) -> HttpResponse:
    facts = facts_for(request)
    asked = request.GET.get("code", "")
    language = asked if asked in LANGUAGES else next(iter(LANGUAGES))
    return render(
        request,
        f"developers/{name}.html",
        {
            "facts": facts,
            "languages_of_code": LANGUAGES.items(),
            "code": language,
            "samples": _samples(topics, language, facts),
            **context,
        },
    )


def _samples(topics: tuple[str, ...], language: str, facts: Facts) -> dict[str, str]:
    return {topic: sample(topic, language, facts) for topic in topics}
