"""The before/after page: its numbers come back by the documented format, and nothing else gets in.

The format is undone here pixel by pixel, as the module's docstring tells it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from deal_cli.errors import OutputError, UsageError
from deal_cli.jobs.page.pack import Shown, pack
from deal_cli.jobs.page.page import About, ReportWriter, Size

ABOUT = About(
    "Restored",
    "2025-01-02 03:04",
    (("deal", "1.0"), ("command", "deal restore <in> & out")),
    ("Two lines.", "The second."),
    (("clip.avi", "a video"),),
)


class Page(HTMLParser):
    """The elements of a page, and the text within each that may hold data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.style = ""
        self.policy = ""
        self.thumbnails: list[str] = []
        self.text = ""
        self._open = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self._open = tag
        if tag == "script":
            self.scripts.append((attributes, ""))
        if attributes.get("http-equiv") == "Content-Security-Policy":
            self.policy = attributes["content"] or ""
        if tag == "img":
            self.thumbnails.append(attributes["src"] or "")
        assert not any(name.startswith("on") for name in attributes), attributes
        assert "style" not in attributes

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = attributes, text + data
        elif self._open == "style":
            self.style += data
        else:
            self.text += data

    def numbers(self) -> list[dict[str, Any]]:
        held = [(a["id"] or "", text) for a, text in self.scripts if "id" in a]
        return [json.loads(text) for name, text in held if name.startswith("data-")]

    def manifest(self) -> dict[str, Any]:
        return json.loads(next(text for a, text in self.scripts if a.get("id") == "manifest"))

    def code(self) -> str:
        return next(text for attributes, text in self.scripts if not attributes)


def shown(before: Any, after: Any = None, name: str = "a.png", **more: Any) -> Shown:
    first = np.asarray(before, np.float32)
    second = first if after is None else np.asarray(after, np.float32)
    more = {"unit": "counts", "figures": (("mean shift", "+0.02 K"),)} | more
    return Shown(name, first, second, **more)


def write(path: Path, *pictures: Shown, about: About = ABOUT, **options: bool) -> Size:
    with ReportWriter(path, **options) as writer:
        for picture in pictures:
            writer.add(pack(picture))
        return writer.close(about)


def stored(path: Path, picture: Shown) -> dict[str, Any]:
    write(path, picture, overwrite=True)
    return Page(path.read_text(encoding="utf-8")).numbers()[0]


def decoded(data: dict[str, Any], which: str) -> NDArray[np.float64]:
    planes = [zlib.decompress(base64.b64decode(text)) for text in data[which]]
    width, height, bits = data["width"], data["height"], 8 * len(planes)
    codes = np.zeros((height + 1, width + 1), np.int64)
    for i in range(width * height):
        y, x = divmod(i, width)
        folded = sum(plane[i] << (8 * rank) for rank, plane in enumerate(planes))
        error = folded // 2 if folded % 2 == 0 else -(folded + 1) // 2
        left, up, corner = (int(codes[y + a, x + b]) for a, b in ((1, 0), (0, 1), (0, 0)))
        expected = sorted((left, up, left + up - corner))[1]
        codes[y + 1, x + 1] = (expected + error) % 2**bits
    inner = codes[1:, 1:]
    values = data["least"] + data["step"] * inner
    return values if data["missing"] is None else np.where(inner == data["missing"], np.nan, values)


def whole_numbers(least: int, greatest: int, shape: tuple[int, int] = (9, 13)) -> NDArray[Any]:
    values = np.random.default_rng(greatest).integers(least, greatest + 1, shape)
    values[0, 0], values[-1, -1] = least, greatest
    return values.astype(np.float32)


@pytest.mark.parametrize(
    ("least", "greatest", "planes"),
    [(0, 255, 1), (0, 1, 1), (7, 7, 1), (6900, 12000, 2), (0, 65535, 2), (-300, 900, 2)],
)
def test_whole_numbers_come_back_exactly(
    tmp_path: Path, least: int, greatest: int, planes: int
) -> None:
    before, after = whole_numbers(least, greatest), whole_numbers(least, greatest)[::-1]
    data = stored(tmp_path / "page.html", shown(before, after))
    assert (len(data["before"]), data["exact"], data["step"]) == (planes, True, 1.0)
    np.testing.assert_array_equal(decoded(data, "before"), before)
    np.testing.assert_array_equal(decoded(data, "after"), after)


@pytest.mark.parametrize(("greatest", "planes"), [(254, 1), (255, 2), (65534, 2)])
def test_what_was_not_measured_has_a_code_of_its_own(
    tmp_path: Path, greatest: int, planes: int
) -> None:
    before, after = whole_numbers(0, greatest), whole_numbers(0, greatest)
    before[3, 4], after[5, :3] = np.nan, np.inf
    data = stored(tmp_path / "page.html", shown(before, after))
    assert (len(data["before"]), data["exact"]) == (planes, True)
    np.testing.assert_array_equal(decoded(data, "before"), before)
    np.testing.assert_array_equal(
        decoded(data, "after"), np.where(np.isfinite(after), after, np.nan)
    )


def test_whole_numbers_too_far_apart_are_rounded_and_the_page_knows(tmp_path: Path) -> None:
    data = stored(tmp_path / "page.html", shown([[0, 65535, np.nan]]))
    assert not data["exact"]
    assert decoded(data, "before")[0, 1] == pytest.approx(65535)
    assert data["step"] == pytest.approx(65535 / 65534)


def test_a_picture_of_nothing_measured_is_stored(tmp_path: Path) -> None:
    data = stored(tmp_path / "page.html", shown(np.full((3, 4), np.nan)))
    assert np.isnan(decoded(data, "before")).all()


PIXELS = st.one_of(st.floats(width=32), st.integers(-5, 400).map(float))


PAIRS = arrays(
    np.float32, st.tuples(st.just(2), st.integers(1, 5), st.integers(1, 6)), elements=PIXELS
)


@settings(max_examples=25, deadline=None)
@given(st.lists(PAIRS, min_size=1, max_size=6))
def test_any_number_comes_back_within_half_a_step(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[NDArray[np.float32]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.html"
    write(path, *(shown(*pair) for pair in pairs), overwrite=True)
    for pair, data in zip(pairs, Page(path.read_text(encoding="utf-8")).numbers(), strict=True):
        for which, values in zip(("before", "after"), pair.astype(np.float64), strict=True):
            result, known = decoded(data, which), np.isfinite(values)
            np.testing.assert_array_equal(np.isfinite(result), known)
            rounding = np.abs(values[known]).max(initial=0) * 1e-12
            room = 0.0 if data["exact"] else data["step"] * 0.500001 + rounding
            assert np.abs(result[known] - values[known]).max(initial=0) <= room


def test_two_sizes_are_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with ReportWriter(tmp_path / "page.html") as writer, pytest.raises(ValueError, match="shape"):
        writer.add(pack(shown(np.zeros((3, 4)), np.zeros((4, 3)))))


def test_temperatures_between_the_knots_are_those_of_the_camera(tmp_path: Path) -> None:
    def planck(counts: NDArray[np.float32]) -> NDArray[np.float32]:
        return (1435 / np.log(17000 / (0.01 * counts) + 1) - 273.15).astype(np.float32)

    counts = whole_numbers(6900, 60000)
    data = stored(tmp_path / "page.html", shown(counts, celsius=planck))
    codes = np.arange(data["top"] + 1)
    knots = np.linspace(0, data["top"], len(data["celsius"]))
    told = np.interp(codes, knots, data["celsius"])
    assert np.abs(told - planck((6900 + codes).astype(np.float32))).max() < 0.005
    assert len(data["celsius"]) < 2000


def test_counts_that_are_no_temperature_have_none(tmp_path: Path) -> None:
    data = stored(tmp_path / "page.html", shown([[-4, 4]], celsius=np.sqrt))
    assert data["celsius"][0] is None
    assert data["celsius"][-1] == pytest.approx(2)
    assert stored(tmp_path / "page.html", shown([[1, 2]]))["celsius"] is None


NAMES = (
    "plain/FLIR0042.jpg",
    "</script><script>alert(1)</script>.png",
    "\"quoted\" 'twice' & <b>bold</b>.tif",
    "日本/Wärme \u202egnp.exe",
    "ends/",
    "x" * 5000 + ".png",
    "line\nbreak\x00\udcff.png",
    "",
)


@pytest.mark.parametrize("split", [False, True])
def test_any_name_is_shown_as_text_and_as_nothing_else(tmp_path: Path, split: bool) -> None:
    plain, strange = tmp_path / "plain.html", tmp_path / "strange.html"
    picture = np.zeros((2, 2))
    write(plain, *(shown(picture, warning="w") for _ in NAMES), split=split)
    pictures = [
        shown(picture, name=name, unit=name, figures=((name, name),), warning=name or None)
        for name in NAMES
    ]
    facts = tuple((name, name) for name in NAMES)
    about = About(NAMES[1], NAMES[2], facts, NAMES, facts)
    write(strange, *pictures, about=about, split=split)
    pages = [Page(path.read_text(encoding="utf-8")) for path in (plain, strange)]
    assert len(pages[0].scripts) == len(pages[1].scripts)
    assert pages[0].code() == pages[1].code()
    told = [row["name"] for row in pages[1].manifest()["pictures"]]
    assert told[:3] == list(NAMES[:3])
    assert told[3:] == [
        "日本/Wärme \\u202egnp.exe", "ends/", NAMES[5], "line\\nbreak\\x00\\udcff.png", "(no name)",
    ]  # fmt: skip
    for name in told:
        assert name in pages[1].text


def test_the_page_asks_for_nothing_but_itself(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write(path, shown(whole_numbers(0, 255)), shown(whole_numbers(0, 999)))
    text = path.read_text(encoding="utf-8")
    assert "://" not in text
    page = Page(text)
    hashes = [
        base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        for part in (page.style, page.code())
    ]
    assert page.policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashes[0]}'; "
        f"script-src 'sha256-{hashes[1]}'; base-uri 'none'; form-action 'none'"
    )
    assert all(thumbnail.startswith("data:image/jpeg;base64,") for thumbnail in page.thumbnails)
    assert max(map(len, page.thumbnails)) < 7000


def test_the_same_pictures_make_the_same_page(tmp_path: Path) -> None:
    pages = [tmp_path / "a.html", tmp_path / "b.html"]
    sizes = [write(page, shown(whole_numbers(0, 900), warning="w")) for page in pages]
    assert pages[0].read_bytes() == pages[1].read_bytes()
    assert sizes[0] == Size(1, len(pages[0].read_bytes()), 0)


def test_a_page_without_pictures_still_says_what_was_left_out(tmp_path: Path) -> None:
    assert write(tmp_path / "page.html").pictures == 0
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "clip.avi" in page.text
    assert not page.scripts


def test_split_numbers_lie_beside_the_page(tmp_path: Path) -> None:
    before = whole_numbers(0, 900)
    size = write(tmp_path / "my page.html", shown(before), shown(before + 1), split=True)
    page = Page((tmp_path / "my page.html").read_text(encoding="utf-8"))
    files = sorted((tmp_path / "my page_files").iterdir())
    assert page.manifest()["files"] == [f"my%20page_files/{file.name}" for file in files]
    assert size.beside == sum(file.stat().st_size for file in files)
    assert not page.numbers()
    assert "'strict-dynamic'" in page.policy
    for index, file in enumerate(files):
        call = re.fullmatch(r"deal\.receive\((\d+),(.*)\);\n", file.read_text(encoding="ascii"))
        assert call is not None
        assert int(call[1]) == index
        np.testing.assert_array_equal(decoded(json.loads(call[2]), "before"), before + index)


def test_a_new_split_page_leaves_no_numbers_of_the_old_one(tmp_path: Path) -> None:
    page, folder = tmp_path / "page.html", tmp_path / "page_files"
    write(page, *(shown(whole_numbers(0, n)) for n in (9, 99, 999)), split=True)
    (folder / "notes.js").write_text("mine", encoding="utf-8")
    write(page, shown(whole_numbers(0, 99)), split=True, overwrite=True)
    assert len(list(folder.iterdir())) == 2
    assert (folder / "notes.js").exists()


@pytest.mark.parametrize("name", ["page.txt", "page", "page.html.png"])
def test_the_name_of_something_else_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"end it in \.html"):
        ReportWriter(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["page.html", "page_files"])
def test_what_exists_is_replaced_only_when_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir() if name == "page_files" else (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match="exists; give another name, or --overwrite"):
        ReportWriter(tmp_path / "page.html", split=True)
    assert write(tmp_path / "page.html", shown([[1]]), split=True, overwrite=True).page > 1000


def test_a_folder_is_never_replaced_by_a_page(tmp_path: Path) -> None:
    (tmp_path / "page.html").mkdir()
    with pytest.raises(UsageError, match=r"exists; give another name$"):
        ReportWriter(tmp_path / "page.html", overwrite=True)


def test_a_place_that_cannot_be_written_to_is_told_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError):
        ReportWriter(tmp_path / "file" / "page.html")


@pytest.mark.parametrize("split", [False, True])
def test_a_run_that_fails_leaves_nothing(tmp_path: Path, split: bool) -> None:
    def run() -> None:
        with ReportWriter(tmp_path / "page.html", split=split) as writer:
            writer.add(pack(shown(whole_numbers(0, 900))))
            raise KeyError

    with pytest.raises(KeyError):
        run()
    assert not list(tmp_path.iterdir())


def test_a_page_that_cannot_be_finished_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, folder = tmp_path / "page.html", tmp_path / "page_files"
    write(page, shown(whole_numbers(0, 900)), split=True)
    before = {path: path.read_bytes() for path in (page, *folder.iterdir())}

    def full(self: ReportWriter, about: About, stream: Any) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ReportWriter, "_write_page", full)
    with pytest.raises(OutputError, match="No space left"):
        write(page, shown(whole_numbers(0, 99)), split=True, overwrite=True)
    assert {path: path.read_bytes() for path in (page, *folder.iterdir())} == before
    with pytest.raises(OutputError, match="No space left"):
        write(tmp_path / "new.html", shown(whole_numbers(0, 99)), split=True)
    assert sorted(tmp_path.iterdir()) == [page, folder]
