"""Files in, files out: every output is planned first, and one bad file never stops the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from deal_cli.engine.backends import Backend, Request
from deal_cli.engine.restorer import Settings
from deal_cli.errors import BackendError, ExitCode, UsageError
from deal_cli.imaging.files import read_frame, write_frame
from deal_cli.imaging.frame import Frame, Metadata, Resolution
from deal_cli.imaging.scenes import draw_scene
from deal_cli.jobs.restore import Batch, RestoreRequest, open_batch, plan_outputs

KEEP = Settings(tone="keep")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two pictures, `a.png` and `b.tif`, and a text."""
    monkeypatch.chdir(tmp_path)
    write_frame(draw_scene(0, 40, 48), Path("a.png"))
    write_frame(replace(draw_scene(1, 40, 48, "uint16")), Path("b.tif"))
    Path("notes.txt").write_text("not a picture", encoding="utf-8")
    return tmp_path


def plan(inputs: list[str], out: str, *, overwrite: bool = False) -> list[str]:
    pairs = plan_outputs([Path(name) for name in inputs], Path(out), overwrite=overwrite)
    return [target.as_posix() for _, target in pairs]


# --- the plan ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_a_folder_keeps_names_and_formats() -> None:
    assert plan(["a.png", "b.tif"], "out") == ["out/a.png", "out/b.tif"]
    assert plan(["a.png"], "out/deep") == ["out/deep/a.png"]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ["new.png", "new.TIF", "new.npy", "sub/new.jpg"])
def test_one_input_may_name_its_output(name: str) -> None:
    assert plan(["a.png"], name) == [name]


@pytest.mark.usefixtures("here")
def test_a_folder_called_like_a_picture_is_a_folder() -> None:
    Path("out.png").mkdir()
    assert plan(["a.png", "b.tif"], "out.png") == ["out.png/a.png", "out.png/b.tif"]


@pytest.mark.usefixtures("here")
def test_nothing_is_made_while_planning() -> None:
    before = sorted(Path().rglob("*"))
    plan(["a.png", "b.tif"], "out")
    assert sorted(Path().rglob("*")) == before


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("inputs", "out", "cause", "remedy"),
    [
        (["a.png", "c.png"], "out", "c.png: no such file", "check the path"),
        (["."], "out", "is a folder", "name its pictures"),
        (["a.png", "b.tif"], "one.png", "one.png: is one file for 2 inputs", "give -o a folder"),
        (["a.png"], "notes.txt", "notes.txt: is not a folder", "give -o a folder"),
        (["a.png", "./a.png"], "out", "would both be written to", "different folders"),
        (["a.png"], ".", "overwritten by its own result", "--overwrite"),
        (["a.png"], "a.png", "overwritten by its own result", "--overwrite"),
        (["n" * 300 + ".png"], "out", "cannot be looked up", "check the path"),
        (["a.png"], "n" * 300, "cannot be looked up", "check the path"),
    ],
)
def test_what_cannot_be_planned_is_an_error_of_use(
    inputs: list[str], out: str, cause: str, remedy: str
) -> None:
    with pytest.raises(UsageError) as caught:
        plan(inputs, out)
    assert cause in str(caught.value)
    assert remedy in str(caught.value)
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.usefixtures("here")
def test_a_picture_may_replace_itself_when_told_to() -> None:
    assert plan(["a.png"], ".", overwrite=True) == ["a.png"]


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
        open_batch(RestoreRequest([Path("a.png")], Path("out"), settings=settings))


# --- the run -------------------------------------------------------------------------------------


def batch(inputs: list[str], out: str, weights: Path, **options: Any) -> Batch:
    settings = options.pop("settings", KEEP)
    paths = [Path(name) for name in inputs]
    return open_batch(
        RestoreRequest(paths, Path(out), Request("cpu", str(weights)), settings, **options)
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
        assert str(outcome.error).startswith(f"{outcome.input}: ")
        assert outcome.error.remedy
        assert outcome.describe() == ""
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
    (taken,) = batch(["palette.png"], "out", fresh_weights, luminance=True).run()
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

    def run(self, x: Any) -> Any:
        raise self._error


@pytest.mark.usefixtures("here")
def test_a_backend_that_gives_out_ends_the_batch(fresh_weights: Path) -> None:
    planned = batch(["a.png", "b.tif"], "out", fresh_weights)
    planned.restorer.backend = Fails(planned.restorer.backend, BackendError("is gone"))
    with pytest.raises(BackendError, match="is gone"):
        list(planned.run())
    assert not Path("out").exists()


@pytest.mark.usefixtures("here")
def test_a_picture_that_does_not_fit_into_memory_fails_alone(fresh_weights: Path) -> None:
    planned = batch(["a.png", "b.tif"], "out", fresh_weights)
    planned.restorer.backend = Fails(planned.restorer.backend, MemoryError())
    outcomes = list(planned.run())
    assert [outcome.status for outcome in outcomes] == ["failed", "failed"]
    assert "a.png: does not fit into memory" in str(outcomes[0].error)


@pytest.mark.usefixtures("here")
def test_an_interrupted_picture_leaves_nothing_behind(fresh_weights: Path) -> None:
    planned = batch(["a.png", "b.tif"], "out", fresh_weights)
    run = planned.run()
    next(run)
    planned.restorer.backend = Fails(planned.restorer.backend, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        next(run)
    assert files() == ["a.png"]


@pytest.mark.usefixtures("here")
def test_an_outcome_tells_size_dtype_range_and_tone(fresh_weights: Path) -> None:
    (outcome,) = batch(["a.png"], "out", fresh_weights).run()
    assert outcome.describe() == "48x40 uint8, range 0:255, tone kept"
    assert outcome.seconds > 0
