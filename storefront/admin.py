"""The admin's front page and its navigation."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    return []


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    return context
