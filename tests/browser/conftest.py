"""A running store and a Chromium that looks at it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.running import Running

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


class Visitor:
    """A person at a browser of their own; at the end, nothing may have gone wrong unseen."""

    def __init__(self, store: Running, context: BrowserContext) -> None:
        self._store = store
        self.page: Page = context.new_page()
        self.complaints: list[str] = []
        self.page.on(
            "console",
            lambda message: (
                self.complaints.append(message.text)
                if message.type in ("error", "warning")
                else None
            ),
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def goto(self, path: str) -> Page:
        self.page.goto(f"{self._store.site}{path}")
        return self.page

    def sign_in(self, who: str) -> None:
        """As "customer" or "staff", with what the banner printed."""
        login = re.search(rf"^ +{who} +(\S+) +(\S+)$", self._store.banner, re.MULTILINE)
        assert login
        page = self.goto("/account/login/")
        page.fill("input[name=login]", login[1])
        page.fill("input[name=password]", login[2])
        page.press("input[name=password]", "Enter")
        page.wait_for_url("**/order/")


@pytest.fixture
def visit(store: Running, browser: Browser) -> Iterator[object]:
    """Opens a browser window: `visit(locale="fr", width=390, …)` returns a Visitor."""
    visitors: list[Visitor] = []

    def open_window(
        *, locale: str = "en", width: int = 1280, height: int = 900, **options: object
    ) -> Visitor:
        context = browser.new_context(
            locale=locale,
            viewport={"width": width, "height": height},
            reduced_motion="reduce",
            **options,  # type: ignore[arg-type]
        )
        visitors.append(Visitor(store, context))
        return visitors[-1]

    yield open_window
    complaints = [complaint for visitor in visitors for complaint in visitor.complaints]
    for visitor in visitors:
        visitor.page.context.close()
    assert complaints == []
