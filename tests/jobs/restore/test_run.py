"""Files in, files out: every output is planned first, and one bad file never stops the others."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from deal_cli.engine.backends.choice import Request
from deal_cli.engine.backends.contract import Backend
from deal_cli.engine.fixed_pattern.estimate import Finding
from deal_cli.engine.fixed_pattern.pattern import Pattern
from deal_cli.engine.restorer import Settings
from deal_cli.errors import BackendError, OutputError, UsageError
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import read_frame, write_frame
from deal_cli.imaging.frame import Frame, Metadata, Resolution
from deal_cli.imaging.reading import ReadAs
from deal_cli.jobs.page.page import ReportWriter
from deal_cli.jobs.report.run import RunPage
from deal_cli.jobs.restore import restoration, sequence
from deal_cli.jobs.restore.run import Batch, RestoreRequest, open_batch, rehearse

KEEP = Settings(tone="keep")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two pictures, `a.png` and `b.tif`, and a text."""
    monkeypatch.chdir(tmp_path)
    write_frame(draw_scene(0, 40, 48), Path("a.png"))
    write_frame(replace(draw_scene(1, 40, 48, "uint16")), Path("b.tif"))
    Path("notes.txt").write_text("not a picture", encoding="utf-8")
    return tmp_path


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "settings",
    [
        Settings(strength=1.5),
        Settings(strength=-0.1),
        Settings(strength=float("nan")),
        Settings(range=(10.0, 5.0)),
        Settings(range=(5.0, 5.0)),
        Settings(range=(0.0, float("inf"))),
        Settings(range=(float("nan"), 1.0)),
        Settings(range=(-1e308, 1e308)),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused_before_anything_is_loaded(
    settings: Settings,
) -> None:
    with pytest.raises(UsageError, match=r"--strength|--range"):
        open_batch(RestoreRequest(["a.png"], "out", settings=settings))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("option", "value"), [("scale", 3), ("scale", 0)])
def test_numbers_that_make_no_sense_are_refused_too(option: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"--{option.replace('_', '-')} takes"):
        open_batch(RestoreRequest(["a.png"], "out", **{option: value}))


def test_reading_takes_numbers_that_make_sense() -> None:
    for options in ({"max_pixels": 0}, {"band": 0}):
        with pytest.raises(UsageError, match="takes 1 and more"):
            ReadAs(**options)


# --- the run -------------------------------------------------------------------------------------


def batch(inputs: list[str], out: str, weights: Path, **options: Any) -> Batch:
    settings = options.pop("settings", KEEP)
    return open_batch(
        RestoreRequest(inputs, out, Request("cpu", str(weights)), settings, **options)
    )


def files(folder: str = "out") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


@pytest.mark.usefixtures("here")
def test_one_bad_file_does_not_stop_the_others(fresh_weights: Path) -> None:
    Path("cut.png").write_bytes(Path("a.png").read_bytes()[:200])
    outcomes = list(batch(["notes.txt", "cut.png", "a.png", "b.tif"], "out", fresh_weights).run())
    assert [o.status for o in outcomes] == ["failed", "failed", "restored", "restored"]
    for outcome in outcomes[:2]:
        assert outcome.error is not None
        assert str(outcome.error).startswith(f"{outcome.item.source}: ")
        assert outcome.error.remedy
        assert outcome.summary is None
    assert files() == ["a.png", "b.tif"]


@pytest.mark.usefixtures("here")
def test_what_exists_is_skipped_unless_it_is_to_be_replaced(fresh_weights: Path) -> None:
    Path("out").mkdir()
    Path("out/a.png").write_text("mine", encoding="utf-8")
    (first,) = batch(["a.png"], "out", fresh_weights).run()
    assert first.status == "skipped"
    assert Path("out/a.png").read_text(encoding="utf-8") == "mine"
    (second,) = batch(["a.png"], "out", fresh_weights, overwrite=True).run()
    assert second.status == "restored"
    assert np.array_equal(read_frame(Path("out/a.png")).values, read_frame(Path("a.png")).values)


@pytest.mark.usefixtures("here")
def test_dtypes_and_counts_are_retained(fresh_weights: Path) -> None:
    counts = np.arange(40 * 48, dtype=np.uint16).reshape(40, 48) * 31
    degrees = (counts / 100).astype(np.float32)
    Image.fromarray(counts).save("counts.png")
    tifffile.imwrite("degrees.tif", degrees)
    np.save("double.npy", degrees.astype(np.float64))
    names = ["counts.png", "degrees.tif", "double.npy"]
    assert all(o.status == "restored" for o in batch(names, "out", fresh_weights).run())
    with Image.open("out/counts.png") as picture:
        assert picture.mode == "I;16"
        assert np.array_equal(np.asarray(picture), counts)
    restored = tifffile.imread("out/degrees.tif")
    assert restored.dtype == np.float32
    assert np.array_equal(restored, degrees)
    assert np.load("out/double.npy").dtype == np.float64


@pytest.mark.usefixtures("here")
def test_a_picture_of_sixteen_bits_does_not_become_a_jpeg(fresh_weights: Path) -> None:
    (outcome,) = batch(["b.tif"], "b.jpg", fresh_weights).run()
    assert outcome.status == "failed"
    assert "b.jpg: .jpg cannot hold uint16 pixels" in str(outcome.error)
    assert not Path("b.jpg").exists()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ["r.png", "r.tif"])
def test_resolution_and_description_are_retained(name: str, fresh_weights: Path) -> None:
    metadata = Metadata(resolution=Resolution(300, 150, "inch"), description="roof, north")
    source = Frame(draw_scene(0, 40, 48, "uint16").values, np.dtype(np.uint16), metadata)
    write_frame(source, Path(name))
    before = read_frame(Path(name)).metadata
    list(batch([name], "out", fresh_weights).run())
    assert read_frame(Path("out") / name).metadata == before
    assert before.resolution is not None
    assert before.description == "roof, north"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("scale", [2, 4])
def test_scale_multiplies_the_size(scale: int, fresh_weights: Path) -> None:
    outcomes = batch(["a.png", "b.tif"], "out", fresh_weights, scale=scale).run()
    assert [o.status for o in outcomes] == ["restored", "restored"]
    for name, dtype in (("a.png", np.uint8), ("b.tif", np.uint16)):
        large, small = read_frame(Path("out") / name), read_frame(Path(name))
        assert (large.height, large.width) == (40 * scale, 48 * scale)
        assert large.dtype == dtype
        assert large.values.mean() == pytest.approx(small.values.mean(), rel=0.01)


@pytest.mark.usefixtures("here")
def test_false_colour_is_refused_unless_its_luminance_is_asked_for(fresh_weights: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    Image.fromarray(colours).save("palette.png")
    (refused,) = batch(["palette.png"], "out", fresh_weights).run()
    assert refused.status == "failed"
    assert "--luminance" in str(refused.error)
    (taken,) = batch(["palette.png"], "out", fresh_weights, read_as=ReadAs(luminance=True)).run()
    assert taken.status == "restored"


@pytest.mark.usefixtures("here")
def test_a_range_that_does_not_fit_a_picture_fails_that_picture(fresh_weights: Path) -> None:
    np.save("f.npy", np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20))
    settings = replace(KEEP, range="dtype")
    first, second = batch(["f.npy", "a.png"], "out", fresh_weights, settings=settings).run()
    assert (first.status, second.status) == ("failed", "restored")
    assert str(first.error).startswith("f.npy: float32 has no full range; use --range")


@pytest.mark.usefixtures("here")
def test_an_output_folder_that_cannot_be_made_fails_the_picture(fresh_weights: Path) -> None:
    (outcome,) = batch(["a.png"], "notes.txt/out", fresh_weights).run()
    assert outcome.status == "failed"
    assert "notes.txt/out: cannot be made" in str(outcome.error).replace("\\", "/")


class Fails(Backend):
    """A backend that raises."""

    def __init__(self, like: Backend, error: BaseException) -> None:
        super().__init__(like.facts)
        self._error = error

    def run(self, x: Any, whole: Any = None) -> Any:
        raise self._error


@pytest.mark.usefixtures("here")
def test_a_backend_that_gives_out_ends_the_batch(fresh_weights: Path) -> None:
    planned = batch(["a.png", "b.tif"], "out", fresh_weights)
    planned.restoration.restorer.backend = Fails(
        planned.restoration.restorer.backend, BackendError("is gone")
    )
    with pytest.raises(BackendError, match="is gone"):
        list(planned.run())
    assert not Path("out").exists()


@pytest.mark.usefixtures("here")
def test_a_picture_that_does_not_fit_into_memory_fails_alone(fresh_weights: Path) -> None:
    planned = batch(["a.png", "b.tif"], "out", fresh_weights)
    planned.restoration.restorer.backend = Fails(
        planned.restoration.restorer.backend, MemoryError()
    )
    outcomes = list(planned.run())
    assert [outcome.status for outcome in outcomes] == ["failed", "failed"]
    assert "a.png: does not fit into memory" in str(outcomes[0].error)


@pytest.mark.usefixtures("here")
def test_an_interrupted_picture_leaves_nothing_behind(fresh_weights: Path) -> None:
    planned = batch(["a.png", "b.tif"], "out", fresh_weights)
    planned.restoration.restorer.backend = Fails(
        planned.restoration.restorer.backend, KeyboardInterrupt()
    )
    with pytest.raises(KeyboardInterrupt):
        list(planned.run())
    assert not Path("out").exists() or files() == []
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith(("read", "work", "write"))]


@pytest.mark.usefixtures("here")
def test_an_outcome_tells_size_dtype_range_and_tone(fresh_weights: Path) -> None:
    (outcome,) = batch(["a.png"], "out", fresh_weights).run()
    told = str(outcome.summary)
    assert told.startswith("48x40 uint8, range 0:255, tone kept, mean shift +0.00")
    assert outcome.seconds > 0


ROW = (
    *("input", "output", "status", "error", "frames", "width", "height", "dtype", "backend"),
    *("precision", "weights_sha256", "range", "range_used", "tone", "absent"),
    *("fixed_pattern", "fidelity", "seconds"),
)


@pytest.mark.usefixtures("here")
def test_a_row_has_every_key_whatever_became_of_the_picture(fresh_weights: Path) -> None:
    Path("out").mkdir()
    Path("out/b.tif").touch()
    planned = batch(["a.png", "b.tif", "notes.txt"], "out", fresh_weights)
    facts = planned.restoration.restorer.backend.facts
    made, skipped, failed = (outcome.to_json(facts) for outcome in planned.run())
    assert tuple(made) == tuple(skipped) == tuple(failed) == ROW
    assert (made["input"], made["output"]) == ("a.png", str(Path("out/a.png")))
    assert (made["width"], made["height"], made["dtype"]) == (48, 40, "uint8")
    assert (made["range"], made["tone"], made["error"]) == ([0.0, 255.0], None, None)
    assert (made["frames"], made["fixed_pattern"]) == (None, None)
    told = made["fidelity"]
    assert (told["unit"], told["pixels"], told["mean_change"]) == ("grey levels", 40 * 48, 0)
    assert told["hottest_before"] == told["hottest_after"] == read_frame(Path("a.png")).values.max()
    assert made["seconds"] > 0
    assert len(made["weights_sha256"]) == 64
    assert (skipped["status"], skipped["width"], skipped["error"]) == ("skipped", None, None)
    assert (skipped["fidelity"], failed["fidelity"]) == (None, None)
    assert failed["status"] == "failed"
    assert failed["error"].startswith("notes.txt: is not a picture")


# --- sequences -----------------------------------------------------------------------------------


def stripes(seed: int = 0) -> Pattern:
    """A fixed pattern of 8-bit frames that none of the drawn scenes shows."""
    offset = np.zeros((40, 48), np.float32)
    offset += np.random.default_rng(seed).normal(0, 9, (1, 48)).astype(np.float32)
    offset -= offset.mean()
    dead = np.zeros_like(offset, np.bool_)
    return Pattern(offset, np.ones_like(offset), dead, 120.0, 9, "uint8")


@pytest.fixture
def walk(here: Path) -> list[str]:
    """Frames of a walk, in a folder and in a stack, and a picture beside them."""
    frames = [draw_scene(k, 40, 48).values.astype(np.uint8) for k in range(3)]
    (here / "walk").mkdir()
    for k, frame in enumerate(frames):
        Image.fromarray(frame).save(f"walk/{k}.png")
    tifffile.imwrite("walk.tif", np.stack(frames), photometric="minisblack")
    return ["walk", "walk.tif", "b.tif"]


def test_no_frame_is_refused_for_the_pattern_of_its_own_sequence(
    walk: list[str], fresh_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What was found over all frames may show little in one, or in none where it was a mistake.
    found = Finding(stripes(), "fixed pattern")
    monkeypatch.setattr(sequence, "estimate", lambda *_: found)
    settings = Settings()  # with tone, which is decided on frames without their pattern
    outcomes = list(batch(walk, "out", fresh_weights, settings=settings, sequence=True).run())
    assert [str(outcome.error) for outcome in outcomes if outcome.error] == []
    assert files() == ["0.png", "1.png", "2.png", "b.tif", "walk.tif"]


def test_a_pattern_that_a_sequence_does_not_show_fails_its_frames_and_no_others(
    walk: list[str], fresh_weights: Path
) -> None:
    stripes().save(Path("camera.pattern"))
    seen = draw_scene(9, 40, 48).values + stripes().offset
    write_frame(Frame(seen, np.dtype(np.uint8)), Path("mine.png"))
    options = {"settings": Settings(), "sequence": True, "pattern": Path("camera.pattern")}
    outcomes = list(batch([*walk, "mine.png"], "out", fresh_weights, **options).run())
    assert [outcome.status for outcome in outcomes] == ["failed"] * 5 + ["restored"]
    for outcome in outcomes[:4]:
        assert str(outcome.error).startswith(f"{outcome.item.source}: does not show the fixed")


def test_a_sequence_that_would_be_too_large_fails_and_no_other_picture(
    walk: list[str], fresh_weights: Path
) -> None:
    write_frame(draw_scene(1, 32, 32), Path("small.png"))
    options = {"settings": Settings(), "sequence": True, "scale": 2}
    options["read_as"] = ReadAs(max_pixels=4096)
    outcomes = list(batch([*walk, "small.png"], "out", fresh_weights, **options).run())
    assert [outcome.status for outcome in outcomes] == ["failed"] * 5 + ["restored"]
    assert all("--max-pixels" in str(outcome.error) for outcome in outcomes[:5])


@pytest.mark.usefixtures("here")
def test_a_rehearsal_touches_nothing_and_tells_what_would_be_done() -> None:
    Path("out").mkdir()
    Path("out/a.png").touch()
    Path("empty").mkdir()
    request = RestoreRequest(["a.png", "b.tif", "empty"], "out", Request("cpu", "no such weights"))
    before = sorted(Path().rglob("*"))
    told = [(outcome.item.source, outcome.status) for outcome in rehearse(request)]
    assert told == [
        (Path("a.png"), "skipped"),
        (Path("b.tif"), "planned"),
        (Path("empty"), "failed"),
    ]
    assert next(rehearse(replace(request, overwrite=True))).status == "planned"
    assert sorted(Path().rglob("*")) == before


@pytest.mark.usefixtures("here")
def test_a_second_run_goes_on_where_the_first_stopped(fresh_weights: Path) -> None:
    first = batch(["a.png", "b.tif"], "out", fresh_weights).run()
    assert next(first).status == "restored"
    first.close()
    written = Path("out/a.png").stat()
    second = list(batch(["a.png", "b.tif"], "out", fresh_weights).run())
    assert second[0].status == "skipped"
    assert Path("out/a.png").stat().st_mtime_ns == written.st_mtime_ns
    assert files() == ["a.png", "b.tif"]


@pytest.mark.usefixtures("here")
def test_remains_of_a_killed_run_are_removed(fresh_weights: Path) -> None:
    Path("out").mkdir()
    Path("out/.a.deal-0123abcd.tmp").write_text("half", encoding="utf-8")
    Path("out/.mine.tmp").write_text("mine", encoding="utf-8")
    list(batch(["a.png"], "out", fresh_weights).run())
    assert files() == [".mine.tmp", "a.png"]


@pytest.mark.usefixtures("here")
def test_a_picture_of_the_same_size_gets_the_same_pixels_alone_and_in_a_batch(
    fresh_weights: Path,
) -> None:
    for i in range(9):
        write_frame(draw_scene(i, 40, 48), Path(f"{i}.png"))
    names = [f"{i}.png" for i in range(9)]
    together = batch(names, "together", fresh_weights)
    assert together.restoration.restorer.capacity(40, 48) > 1
    assert all(o.status == "restored" for o in together.run())
    for name in names:
        (alone,) = batch([name], "alone", fresh_weights).run()
        assert alone.status == "restored"
        assert Path("alone", name).read_bytes() == Path("together", name).read_bytes()


@pytest.mark.usefixtures("here")
def test_a_folder_that_vanishes_while_it_is_worked_on_fails_its_pictures(
    fresh_weights: Path,
) -> None:
    Path("in").mkdir()
    for i in range(3):
        write_frame(draw_scene(i, 40, 48), Path(f"in/{i}.png"))
    planned = batch(["in", "a.png"], "out", fresh_weights)
    shutil.rmtree("in")
    outcomes = list(planned.run())
    assert [o.status for o in outcomes] == ["failed"] * 3 + ["restored"]
    assert "no such file" in str(outcomes[0].error)
    shutil.rmtree("out")
    assert [o.status for o in planned.run()][-1] == "restored"
    assert files() == ["a.png"]


# --- pages ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_what_goes_wrong_with_a_page_fails_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(shown: object) -> None:
        raise MemoryError

    monkeypatch.setattr(restoration, "pack", full)
    request = RestoreRequest(
        ["a.png", "b.tif"], "out", Request("cpu", "deal-fast"), KEEP, show=True
    )
    page = RunPage(Path("page.html"), split=False, overwrite=False)
    outcomes = list(page.follow(open_batch(request).run(), ()))
    assert [outcome.status for outcome in outcomes] == ["restored", "restored"]
    assert page.size is not None
    assert page.size.pictures == 0
    assert "does not fit into memory" in Path("page.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("method", ["add", "close"])
def test_a_page_that_cannot_be_written_stops_no_picture(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def full(*_: object) -> None:
        raise OutputError("cannot be written (No space left on device)", file=Path("page.html"))

    monkeypatch.setattr(ReportWriter, method, full)
    request = RestoreRequest(
        ["a.png", "b.tif"], "out", Request("cpu", "deal-fast"), KEEP, show=True
    )
    page = RunPage(Path("page.html"), split=False, overwrite=False)
    outcomes = list(page.follow(open_batch(request).run(), ()))
    assert [outcome.status for outcome in outcomes] == ["restored", "restored"]
    assert page.error is not None
    assert {path.name for path in Path("out").iterdir()} == {"a.png", "b.tif"}
    assert not Path("page.html").exists()
