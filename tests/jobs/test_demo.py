"""The first minute: pictures that nobody had to bring, made better, and a page that shows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deal_cli.engine.backends.choice import Request
from deal_cli.errors import UsageError
from deal_cli.imaging.files import read_frame
from deal_cli.jobs import demo as module
from deal_cli.jobs.demo import demo

FAST = Request("cpu", "deal-fast")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenes that take no time."""
    monkeypatch.setattr(module, "HEIGHT", 96)
    monkeypatch.setattr(module, "WIDTH", 128)


@pytest.mark.usefixtures("small", "one_thread")
def test_the_demo_leaves_pictures_and_a_page_that_shows_them(tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    made = demo(FAST, tmp_path / "demo", on_progress=lambda now, all_: done.append((now, all_)))
    total = len(module.EXAMPLES) * len(module.LEVELS)
    assert done == [(at, total) for at in range(1, total + 1)]
    assert made.page == tmp_path / "demo" / "report.html"
    page = made.page.read_text(encoding="utf-8")
    for example in module.EXAMPLES:
        clean = read_frame(tmp_path / "demo" / "clean" / f"{example.name}.png")
        assert clean.dtype == np.dtype(example.dtype)
        for level in module.LEVELS:
            name = f"{example.name}-{level}.png"
            assert name in page
            for folder in ("degraded", "restored"):
                frame = read_frame(tmp_path / "demo" / folder / name)
                assert (frame.dtype, frame.values.shape) == (clean.dtype, clean.values.shape)
    assert made.pictures == total
    assert made.gain > 1


@pytest.mark.usefixtures("small", "one_thread")
def test_each_level_is_more_severe_than_the_one_before(tmp_path: Path) -> None:
    demo(FAST, tmp_path)
    for example in module.EXAMPLES:
        clean = read_frame(tmp_path / "clean" / f"{example.name}.png").values
        errors = [
            np.mean((read_frame(tmp_path / "degraded" / name).values - clean) ** 2)
            for name in (f"{example.name}-{level}.png" for level in module.LEVELS)
        ]
        assert errors == sorted(errors)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="holds files; give -o another folder, or --overwrite"):
        demo(FAST, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
