"""Degrading files: what goes where, what is drawn, and what a second run finds."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from imaging.radiometric_files import flir

from deal_cli.config import GeneratorConfig
from deal_cli.engine.backends.choice import Request
from deal_cli.errors import DealError, ExitCode, UsageError, WeightsError
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import read_frame, write_frame
from deal_cli.imaging.frame import Frame
from deal_cli.jobs.degrade.plan import DegradeRequest
from deal_cli.jobs.degrade.run import SEVERITIES, Outcome, open_batch
from deal_cli.model.generator import Generator
from deal_cli.model.weights import save_generator

Degrade = Callable[..., list[Outcome]]


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of an untrained N_G: every operation is as likely, half severe."""
    path = tmp_path_factory.mktemp("weights") / "generator.safetensors"
    torch.manual_seed(0)
    save_generator(path, Generator(GeneratorConfig(width=2)), {})
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with `in/a.png`, `in/deep/b.tif` (16 bits) and `in/c.tif` (degrees)."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    write_frame(draw_scene(0, 40, 48), tmp_path / "in/a.png")
    write_frame(draw_scene(1, 40, 48, "uint16"), tmp_path / "in/deep/b.tif")
    degrees = (draw_scene(2, 40, 48, "uint16").values / 100).astype(np.float32)
    degrees[3, 4] = np.nan
    write_frame(Frame(degrees, np.dtype(np.float32)), tmp_path / "in/c.tif")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def degrade(generator: Path, here: Path) -> Degrade:
    """`(inputs, ...)` -> what became of every picture, in the current folder."""

    def run(*inputs: str, **options: Any) -> list[Outcome]:
        weights = "generator" if "replay" in options else str(generator)
        request = DegradeRequest(inputs, engine=Request("cpu", weights), **options)
        return list(open_batch(request).run())

    return run


def files(folder: str = "degraded") -> list[str]:
    found = (p for p in Path(folder).rglob("*") if p.is_file())
    return sorted(p.relative_to(folder).as_posix() for p in found)


def pixels(name: str) -> np.ndarray:
    return read_frame(Path(name)).values


def operations(outcome: Outcome) -> list[str]:
    assert outcome.summary is not None, outcome.error
    return [name for name, _ in outcome.summary.operations]


# --- names and places ----------------------------------------------------------------------------


def test_a_tree_becomes_the_same_tree_with_a_sidecar_a_picture(degrade: Degrade) -> None:
    assert [o.status for o in degrade("in", recursive=True)] == ["degraded"] * 3
    names = ["a.png", "c.tif", "deep/b.tif"]
    assert files() == sorted([*names, *(f"{name}.json" for name in names)])


def test_copies_are_numbered_from_the_second(degrade: Degrade) -> None:
    degrade("in/a.png", count=3)
    names = ["a.png", "a_2.png", "a_3.png"]
    assert [name for name in files() if not name.endswith(".json")] == names
    first, second, third = (pixels(f"degraded/{name}") for name in names)
    assert not np.array_equal(first, second)
    assert not np.array_equal(second, third)


def test_pairs_lie_under_the_same_names(degrade: Degrade) -> None:
    degrade("in", recursive=True, pairs=True, count=2, out="pairs")
    clean, degraded = files("pairs/clean"), files("pairs/degraded")
    assert clean == ["a.png", "a_2.png", "c.tif", "c_2.tif", "deep/b.tif", "deep/b_2.tif"]
    assert degraded == sorted([*clean, *(f"{name}.json" for name in clean)])
    for name, source in (("a_2.png", "in/a.png"), ("deep/b.tif", "in/deep/b.tif")):
        assert np.array_equal(pixels(f"pairs/clean/{name}"), pixels(source))
        assert read_frame(Path(f"pairs/clean/{name}")).dtype == read_frame(Path(source)).dtype


def test_without_an_input_scenes_are_drawn(degrade: Degrade) -> None:
    outcomes = degrade(count=2, pairs=True)
    assert files("degraded/clean") == ["scene_0001.png", "scene_0002.png"]
    assert [o.summary and (o.summary.width, o.summary.height) for o in outcomes] == [(640, 512)] * 2
    scene = json.loads(Path("degraded/degraded/scene_0002.png.json").read_bytes())["scene"]
    drawn = draw_scene(scene["seed"], scene["height"], scene["width"])
    assert np.array_equal(pixels("degraded/clean/scene_0002.png"), drawn.values)
    assert not np.array_equal(*(pixels(f"degraded/clean/scene_000{i}.png") for i in (1, 2)))


def test_one_picture_may_be_given_a_name(degrade: Degrade) -> None:
    degrade("in/a.png", out="x/hurt.png")
    degrade("in/a.png")
    degrade(count=1, out="x/scene.tif")
    assert files("x") == ["hurt.png", "hurt.png.json", "scene.tif", "scene.tif.json"]
    assert np.array_equal(pixels("x/hurt.png"), pixels("degraded/a.png"))


def test_what_is_kept_of_a_picture(degrade: Degrade) -> None:
    degrade("in", recursive=True)
    for name in ("a.png", "deep/b.tif", "c.tif"):
        before, after = read_frame(Path("in", name)), read_frame(Path("degraded", name))
        assert after.dtype == before.dtype
        assert after.metadata == before.metadata
        assert np.array_equal(np.isnan(after.values), np.isnan(before.values))
        assert not np.array_equal(after.values, before.values)
    assert pixels("degraded/deep/b.tif").max() > 256


def test_a_radiometric_jpeg_becomes_a_tiff_with_all_that_goes_with_it(degrade: Degrade) -> None:
    Path("in/roof.jpg").write_bytes(flir())
    (done,) = degrade("in/roof.jpg", pairs=True, count=1, out="pairs")
    assert done.status == "degraded", done.error
    assert files("pairs") == ["clean/roof.tif", "degraded/roof.tif", "degraded/roof.tif.json"]
    source, clean = read_frame(Path("in/roof.jpg")), read_frame(Path("pairs/clean/roof.tif"))
    assert np.array_equal(clean.values, source.values)
    assert clean.metadata.radiometry == source.metadata.radiometry
    degrade("in/roof.jpg", count=2)
    degrade("in/roof.jpg", out="x/named.tif")
    hurt = pixels("pairs/degraded/roof.tif")
    assert not np.array_equal(hurt, source.values)
    for name in ("degraded/roof.tif", "x/named.tif"):
        assert np.array_equal(pixels(name), hurt)
    assert files() == ["roof.tif", "roof.tif.json", "roof_2.tif", "roof_2.tif.json"]
    Path("degraded/roof.tif.json").rename("degraded/keep.json")
    for sidecar in ("degraded/keep.json", "pairs/degraded/roof.tif.json"):
        (again,) = degrade(replay=Path(sidecar), out="again", overwrite=True)
        assert again.status == "degraded", again.error
        assert np.array_equal(pixels("again/roof.tif"), hurt)
    assert [o.status for o in degrade("in/roof.jpg", count=2)] == ["skipped", "skipped"]


def test_a_radiometric_jpeg_and_a_tiff_of_its_name_are_two(degrade: Degrade) -> None:
    Path("in/c.jpg").write_bytes(flir())
    with pytest.raises(UsageError, match="would both be written"):
        degrade("in")


# --- what is drawn -------------------------------------------------------------------------------


def test_the_severer_the_less_is_left(degrade: Degrade) -> None:
    means = []
    for severity in ("0", *SEVERITIES):
        done = degrade("in", recursive=True, count=4, severity=severity, out=severity)
        values = [o.summary.psnr for o in done if o.summary]
        means.append(np.mean([min(value, 99) for value in values]))
    assert means[0] == 99
    assert all(worse < better - 1 for better, worse in itertools.pairwise(means)), means


def test_severity_zero_leaves_the_picture_and_says_so(degrade: Degrade) -> None:
    (done,) = degrade("in/a.png", severity="0")
    assert np.array_equal(pixels("degraded/a.png"), pixels("in/a.png"))
    assert done.summary is not None
    assert done.summary.psnr == math.inf
    assert done.to_json()["psnr"] is None


def test_only_what_is_named_is_applied(degrade: Degrade) -> None:
    for outcome in degrade("in", count=4, operations="stripe, blur"):
        assert set(operations(outcome)) <= {"stripe", "blur"}
        assert operations(outcome)
    for outcome in degrade("in", count=2, operations="tone,row", severity="high", out="x"):
        assert outcome.summary is not None
        assert outcome.summary.operations[0] == ("tone", 0.75)
        assert operations(outcome)[1:] == ["row"]


def test_a_picture_depends_on_its_name_and_the_seed_alone(degrade: Degrade) -> None:
    degrade("in", recursive=True, count=2, seed=7)
    degrade("in/c.tif", "in/a.png", seed=7, out="other")
    for name in ("a.png", "c.tif"):
        assert np.array_equal(pixels(f"degraded/{name}"), pixels(f"other/{name}"), equal_nan=True)
    degrade("in/a.png", seed=8, out="third")
    assert not np.array_equal(pixels("third/a.png"), pixels("degraded/a.png"))


# --- sidecars ------------------------------------------------------------------------------------


def test_a_sidecar_says_all_of_it(degrade: Degrade, generator: Path) -> None:
    (done,) = degrade("in/deep/b.tif", severity="high", seed=3)
    table = json.loads(Path("degraded/b.tif.json").read_bytes())
    assert table["format"] == "deal-degradation/1"
    assert table["input"] == "../in/deep/b.tif"
    assert (table["dtype"], table["severity"], table["seed"]) == ("uint16", 0.75, 3)
    assert len(table["weights_sha256"]) == 64
    assert done.summary is not None
    told = [(step["draw"]["operation"], step["severity"]) for step in table["steps"]]
    assert tuple(told) == done.summary.operations


def test_a_replay_makes_the_same_pixels_again(degrade: Degrade) -> None:
    degrade("in", recursive=True, count=2, operations="tone,blur,stripe,dead,jpeg", severity="0.8")
    for name in ("a.png", "a_2.png", "c.tif", "deep/b_2.tif"):
        (again,) = degrade(replay=Path("degraded", f"{name}.json"), out="again")
        assert again.status == "degraded", again.error
        copy = f"again/{Path(name).name}"
        assert np.array_equal(pixels(copy), pixels(f"degraded/{name}"), equal_nan=True)
        first, second = (
            json.loads(Path(f"{p}.json").read_bytes()) for p in (copy, f"degraded/{name}")
        )
        assert {**first, "input": 0} == {**second, "input": 0}
    degrade(count=1, out="scenes")
    degrade(replay=Path("scenes/scene_0001.png.json"), out="again")
    assert np.array_equal(pixels("again/scene_0001.png"), pixels("scenes/scene_0001.png"))


def test_a_replay_on_other_pictures_takes_their_own_range(degrade: Degrade) -> None:
    degrade("in/a.png", operations="stripe")
    both = degrade("in/c.tif", "in/a.png", replay=Path("degraded/a.png.json"), out="again")
    assert [operations(outcome) for outcome in both] == [["stripe"], ["stripe"]]
    assert np.array_equal(pixels("again/a.png"), pixels("degraded/a.png"))
    told = json.loads(Path("again/c.tif.json").read_bytes())
    assert told["range"][1] < 200
    assert (told["dtype"], told["input"]) == ("float32", "../in/c.tif")
    degrade(replay=Path("again/c.tif.json"), out="third")
    assert np.array_equal(pixels("third/c.tif"), pixels("again/c.tif"), equal_nan=True)


def test_a_renamed_sidecar_names_no_picture_but_its_input_does(degrade: Degrade) -> None:
    degrade("in/a.png")
    Path("degraded/a.png.json").rename("degraded/keep.json")
    degrade(replay=Path("degraded/keep.json"), out="again")
    assert np.array_equal(pixels("again/a.png"), pixels("degraded/a.png"))


def test_an_input_that_is_gone_or_another_is_told(degrade: Degrade) -> None:
    degrade("in/a.png")
    write_frame(draw_scene(1, 40, 48, "uint16"), Path("in/a.png"))
    (changed,) = degrade(replay=Path("degraded/a.png.json"), out="again")
    assert changed.error is not None
    assert "is uint16, not uint8" in str(changed.error)
    Path("in/a.png").unlink()
    with pytest.raises(UsageError, match="not there") as caught:
        degrade(replay=Path("degraded/a.png.json"), out="again")
    assert "INPUT" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"severity": "low"}, "--severity"),
        ({"operations": "row"}, "--ops"),
        ({"count": 2}, "--count"),
        ({"seed": 0}, "--seed"),
    ],
)
def test_what_a_sidecar_settles_cannot_be_asked_for(
    degrade: Degrade, options: dict[str, Any], option: str
) -> None:
    degrade("in/a.png")
    with pytest.raises(UsageError) as caught:
        degrade(replay=Path("degraded/a.png.json"), out="again", **options)
    assert option in str(caught.value)


# --- a second run --------------------------------------------------------------------------------


def test_what_exists_is_skipped_unless_it_is_to_be_replaced(degrade: Degrade) -> None:
    degrade("in/a.png", seed=1)
    before = pixels("degraded/a.png")
    (second,) = degrade("in/a.png", seed=2)
    assert second.status == "skipped"
    assert np.array_equal(pixels("degraded/a.png"), before)
    assert json.loads(Path("degraded/a.png.json").read_bytes())["seed"] == 1
    (third,) = degrade("in/a.png", seed=2, overwrite=True)
    assert third.status == "degraded"
    assert not np.array_equal(pixels("degraded/a.png"), before)


def test_a_stopped_run_goes_on_where_it_was(degrade: Degrade) -> None:
    """The picture is written last; what came before it is written again or found to be there."""
    for out, inputs in (("files", ("in/a.png", "in/deep/b.tif")), ("scenes", ())):
        degrade(*inputs, pairs=True, count=2, out=out)
        whole = {name: Path(out, name).read_bytes() for name in files(out)}
        for name in whole:
            if name.startswith("degraded/") and not name.endswith(".json"):
                Path(out, name).unlink()
        again = degrade(*inputs, pairs=True, count=2, out=out)
        assert {o.status for o in again} == {"degraded"}
        assert {name: Path(out, name).read_bytes() for name in files(out)} == whole


def test_files_of_others_are_not_replaced(degrade: Degrade) -> None:
    Path("degraded/clean").mkdir(parents=True)
    Path("degraded/a.png.json").write_text("mine", encoding="utf-8")
    Path("degraded/clean/c.tif").write_text("mine", encoding="utf-8")
    (first,) = degrade("in/a.png")
    (second,) = degrade("in/c.tif", pairs=True)
    for outcome in (first, second):
        assert outcome.status == "failed"
        assert "--overwrite" in str(outcome.error)
    assert files() == ["a.png.json", "clean/c.tif"]
    assert degrade("in/a.png", overwrite=True)[0].status == "degraded"
    assert degrade("in/c.tif", pairs=True, overwrite=True)[0].status == "degraded"


def test_results_are_no_inputs(degrade: Degrade) -> None:
    degrade(".", recursive=True, pairs=True)
    assert len(degrade(".", recursive=True, pairs=True)) == 3


def test_one_bad_file_does_not_stop_the_others(degrade: Degrade) -> None:
    Path("in/bad.png").write_bytes(Path("in/a.png").read_bytes()[:150])
    outcomes = degrade("in/bad.png", "in/a.png", "in/c.tif")
    assert [o.status for o in outcomes] == ["failed", "degraded", "degraded"]
    assert str(outcomes[0].error).startswith(f"{Path('in/bad.png')}: ")
    assert outcomes[0].to_json()["operations"] == []
    assert "bad.png" not in "".join(files())


# --- what cannot be ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "options", "told"),
    [
        ((), {"severity": "worst"}, "min, low, medium, high, max, or a number from 0 to 1"),
        ((), {"severity": "1.01"}, "from 0 to 1"),
        ((), {"severity": "nan"}, "from 0 to 1"),
        ((), {"operations": "strip"}, "did you mean 'stripe'"),
        ((), {"operations": ""}, "unknown degradation"),
        ((), {"count": 0}, "--count"),
        ((), {"seed": -1}, "--seed"),
        ((), {"out": "-"}, "a pipe has no room"),
        (("-",), {}, "a pipe has no room"),
        (("missing.png",), {}, "no such file"),
        (("in/a.png",), {"out": "x.png", "count": 2}, "one file for 2 pictures"),
        (("in/a.png",), {"out": "x.png", "pairs": True}, "one file for 2 pictures"),
        (("in/a.png", "in/deep/../a.png"), {}, "would both be written"),
        (("in/a.png",), {"out": "in", "overwrite": True}, "overwritten by its own result"),
        (("in/clean/a.png",), {"out": "in", "pairs": True}, "overwritten by its own result"),
        (("in/a.png", "in/clean/a_2.png"), {"count": 2}, "would both be written"),
    ],
)
def test_what_cannot_be_done_as_typed(
    degrade: Degrade, inputs: tuple[str, ...], options: dict[str, Any], told: str
) -> None:
    Path("in/clean").mkdir()
    for name in ("a.png", "a_2.png"):
        write_frame(draw_scene(0, 40, 48), Path("in/clean", name))
    with pytest.raises(UsageError) as caught:
        degrade(*inputs, **options)
    assert told in str(caught.value)
    assert caught.value.remedy
    if "its own result" in told:
        assert "--overwrite" not in str(caught.value)
    assert not Path("degraded").exists()


def test_weights_of_another_kind_are_refused(here: Path, fresh_weights: Path) -> None:
    for weights, told in ((str(fresh_weights), "not a generator"), ("none", "--weights takes")):
        with pytest.raises(WeightsError, match=told):
            open_batch(DegradeRequest(engine=Request("cpu", weights)))


def test_onnx_runtime_is_refused(here: Path) -> None:
    with pytest.raises(DealError) as caught:
        open_batch(DegradeRequest(engine=Request("onnx", "generator")))
    assert caught.value.exit_code is ExitCode.UNAVAILABLE
    assert "--backend cpu" in str(caught.value)
