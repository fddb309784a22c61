"""What the tests in a browser share: one headless Chromium, and pages that are listened to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

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
def heard() -> Heard:
    """What the pages of a test asked for and complained of; it must stay without complaints."""
    return Heard()


@pytest.fixture
def open_page(browser: Browser, heard: Heard) -> Iterator[Open]:
    """`(path, **context)` -> the page, opened from the disk."""
    contexts = []

    def make(path: Path, **options: Any) -> Page:
        options = {"viewport": {"width": 1366, "height": 768}} | options
        context = browser.new_context(**options)
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: heard.requests.append(request.url))
        page.on("pageerror", lambda error: heard.complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                message.type in ("error", "warning") and heard.complaints.append(message.text)
            ),
        )
        page.goto(path.as_uri())
        return page

    yield make
    for context in contexts:
        context.close()
    assert heard.complaints == []
