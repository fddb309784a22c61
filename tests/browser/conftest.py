"""What the tests in a browser share: one headless Chromium, and pages that are listened to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

ARGUMENTS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Heard:
    """What pages asked for, and what went wrong in them."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


Open = Callable[..., "Page"]


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    """One Chromium for all tests of a file; it ends with them, for it takes memory."""
    from playwright.sync_api import sync_playwright

    root = ("--no-sandbox",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=chromium, args=[*ARGUMENTS, *root], timeout=30_000
        )
        yield launched
        launched.close()


@pytest.fixture
def heard(pages: Pages) -> Heard:
    """What the pages of a test asked for and complained of; it must stay without complaints."""
    return pages.heard


@pytest.fixture
def open_page(pages: Pages) -> Iterator[Open]:
    """`(path, **context)` -> the page, opened from the disk."""
    pages.heard = Heard()
    yield pages.open
    assert pages.heard.complaints == []


@pytest.fixture(scope="module")
def pages(browser: Browser) -> Pages:
    return Pages(browser)


class Pages:
    """Pages that are opened again and again: one for each kind of device."""

    def __init__(self, browser: Browser) -> None:
        self.heard = Heard()
        self._browser = browser
        self._pages: dict[str, Page] = {}

    def open(self, path: Path, **options: Any) -> Page:
        page = self._pages.get(repr(options)) or self._new(options)
        page.goto("about:blank")
        page.goto(path.as_uri())
        return page

    def _new(self, options: dict[str, Any]) -> Page:
        context = self._browser.new_context(
            **{"viewport": {"width": 1366, "height": 768}} | options
        )
        context.set_default_timeout(10_000)
        page = self._pages[repr(options)] = context.new_page()
        page.on("request", lambda request: self.heard.requests.append(request.url))
        page.on("pageerror", lambda error: self.heard.complaints.append(str(error)))
        page.on("console", self._listen)
        return page

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.heard.complaints.append(message.text)
