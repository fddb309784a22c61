"""What the tests share: where the real pictures are, and which marked tests can run here."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("DEAL_TEST_DATA", ROOT.parent / "shared" / "data"))
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def root() -> Path:
    """The top folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real thermal pictures, which no clone holds."""
    if not DATA.is_dir():
        pytest.skip("needs the real pictures beside the checkout, or in DEAL_TEST_DATA")
    return DATA


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The Chromium that the tests marked `browser` drive."""
    found = None if _missing_browser() else _chromium()
    if found is None:
        pytest.skip(_missing_browser() or "")
    return found


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For small tensors: on a busy machine threads wait for each other."""
    import torch

    from deal_cli.engine.backends import hardware

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(hardware, "physical_cores", lambda: 1)
    yield
    torch.set_num_threads(before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU, a browser or the real pictures where there is none."""
    for item in items:
        if item.get_closest_marker("data") and not DATA.is_dir():
            item.add_marker(
                pytest.mark.skip("needs the real pictures beside the checkout, or DEAL_TEST_DATA")
            )
        if item.get_closest_marker("gpu") and not _has_gpu():
            item.add_marker(pytest.mark.skip("needs an NVIDIA GPU that torch can use"))
        if item.get_closest_marker("browser") and (missing := _missing_browser()):
            item.add_marker(pytest.mark.skip(missing))


@cache
def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@cache
def _missing_browser() -> str | None:
    """What the tests in a browser lack here; None where they can run."""
    if importlib.util.find_spec("playwright") is None:
        return "needs Playwright (pip install playwright)"
    if _chromium() is None:
        return f"needs a Chromium (playwright install chromium, or one of {', '.join(CHROMIUMS)})"
    return None


@cache
def _chromium() -> Path | None:
    """Playwright's own Chromium, which is sure to fit it, or else one on PATH."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
    found = [own] if own.exists() else [Path(p) for p in map(shutil.which, CHROMIUMS) if p]
    return found[0] if found else None
