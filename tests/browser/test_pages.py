"""Every page in every language, on a phone and a desktop, light and dark: usable by everybody."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe

pytestmark = pytest.mark.browser

PUBLIC = (
    "/",
    "/services/",
    "/account/login/",
    "/account/signup/",
    "/account/password/reset/",
    "/developers/",
    "/developers/panel/",
    "/developers/try/",
)
OWN = (
    "/order/",
    "/orders/many/",
    "/orders/",
    "/wallet/",
    "/settings/",
    "/settings/api-keys/",
    "/settings/webhooks/",
    "/account/email/",
)
# The order form of a plain service, of comments, a subscription and visitors (the sandbox's list).
FORMS = tuple(f"/order/?service={service}" for service in (1, 7, 15, 62))


# French has the longest words where room is short.
@pytest.mark.parametrize(
    ("locale", "width", "scheme"),
    [
        ("fr", 360, "dark"),
        ("tr", 360, "light"),
        ("en", 1280, "light"),
        ("fr", 1280, "dark"),
    ],
)
def test_pages_are_accessible_and_fit(locale, width, scheme, visit):
    visitor = visit(locale=locale, width=width, color_scheme=scheme)
    found: dict[str, list[str]] = {}

    def look(path: str) -> None:
        page = visitor.goto(path)
        result = Axe().run(page)
        violations = [violation["id"] for violation in result.response["violations"]]
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            violations.append("scrolls sideways")
        if page.evaluate("document.documentElement.lang") != locale:
            violations.append("another language")
        if violations:
            found[path] = violations

    for path in PUBLIC:
        look(path)
    visitor.sign_in("customer")
    for path in (*OWN, *FORMS, "/services/1/"):
        look(path)

    assert found == {}
