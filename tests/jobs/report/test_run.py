"""Pages of pictures before and after: which are paired, what is left out, and what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deal_cli.errors import DealError, OutputError, UsageError
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import write_frame
from deal_cli.jobs.report.run import ReportRequest, report


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with `before/` and `after/`, each of two pictures and one in `deep/`."""
    monkeypatch.chdir(tmp_path)
    for at, name in enumerate(("1.png", "10.tif", "deep/2.png")):
        frame = draw_scene(at, 40, 48, "uint16")
        for folder, by in (("before", 0), ("after", 3)):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_frame(replace(frame, values=frame.values + np.float32(by)), path)
    return tmp_path


def names(page: Path) -> list[str]:
    """The names of the pictures that a page shows, in order."""
    return re.findall(r'\{"name":"([^"]*)"', page.read_text(encoding="utf-8"))


def request(*paths: str, **options: object) -> ReportRequest:
    return ReportRequest(*map(Path, paths), **options)  # type: ignore[arg-type]


@pytest.mark.usefixtures("here")
def test_two_files_make_a_page_of_one_picture() -> None:
    made = report(request("before/1.png", "after/1.png", "page.html"))
    assert made.size.pictures == 1
    assert names(Path("page.html")) == ["1.png"]
    assert made.size.page == Path("page.html").stat().st_size


@pytest.mark.usefixtures("here")
def test_folders_are_paired_by_name_whatever_the_format() -> None:
    write_frame(draw_scene(0, 40, 48, "uint16"), Path("after/1.tif"))
    Path("after/1.png").unlink()
    done: list[tuple[int, int]] = []
    made = report(
        request("before", "after", "page.html"), lambda now, whole: done.append((now, whole))
    )
    assert names(Path("page.html")) == ["1.png", "10.tif"]
    assert done == [(1, 2), (2, 2)]
    assert made.unpaired == ()


@pytest.mark.usefixtures("here")
def test_folders_below_are_looked_into_if_asked() -> None:
    report(request("before", "after", "page.html", recursive=True))
    assert names(Path("page.html")) == ["1.png", "10.tif", "deep/2.png"]


@pytest.mark.usefixtures("here")
def test_a_file_without_a_partner_is_left_out_and_named_on_the_page() -> None:
    write_frame(draw_scene(0, 40, 48), Path("after/7.png"))
    write_frame(draw_scene(0, 40, 48), Path("before/1.tif"))  # a second one of this name
    made = report(request("before", "after", "page.html"))
    assert {path.as_posix() for path in made.unpaired} == {"after/7.png", "before/1.tif"}
    assert "after/7.png" in Path("page.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("here")
def test_one_bad_pair_stops_no_other() -> None:
    Path("after/1.png").write_bytes(b"no picture")
    made = report(request("before", "after", "page.html"))
    assert names(Path("page.html")) == ["10.tif"]
    assert [error.file for error in made.failed] == [Path("after/1.png")]
    Path("after/10.tif").write_bytes(b"no picture")
    with pytest.raises(DealError, match=r"1\.png"):
        report(request("before", "after", "other.html"))
    assert not Path("other.html").exists()


@pytest.mark.usefixtures("here")
def test_a_page_that_exists_is_replaced_only_if_asked() -> None:
    Path("page.html").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match=r"page\.html: exists; .*--overwrite"):
        report(request("before", "after", "page.html"))
    assert Path("page.html").read_text(encoding="utf-8") == "mine"
    report(request("before", "after", "page.html", overwrite=True))
    assert names(Path("page.html")) == ["1.png", "10.tif"]


@pytest.mark.usefixtures("here")
def test_a_split_page_has_its_numbers_beside_it() -> None:
    made = report(request("before", "after", "page.html", split=True))
    beside = list(Path("page_files").iterdir())
    assert len(beside) == 2
    assert made.size.beside == sum(path.stat().st_size for path in beside)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("nowhere", "after", "nowhere: does not exist"),
        ("before", "nowhere", "nowhere: does not exist"),
        ("before", "after/1.png", r"1\.png: is a file, and before is not; give two files"),
        ("before/1.png", "after", "after: is a folder, and before.1.png is not"),
        ("before", "after/deep", "after.deep: no picture here has the name of one of before"),
    ],
)
def test_what_cannot_be_paired_is_an_error_of_use(before: str, after: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        report(request(before, after, "page.html"))
    assert not Path("page.html").exists()


@pytest.mark.usefixtures("here")
def test_a_page_that_cannot_be_written_is_an_error_of_output() -> None:
    with pytest.raises(OutputError):
        report(request("before", "after", "before/1.png/page.html"))
