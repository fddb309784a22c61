"""Files of many frames, from end to end: whole, in order, at their moments, or not at all."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import tifffile
from imaging.clips import encoded, scene
from imaging.radiometric_files import flir

from deal_cli.engine.backends.choice import Request
from deal_cli.engine.backends.contract import Backend, OutOfMemoryError
from deal_cli.engine.fixed_pattern.pattern import load_pattern
from deal_cli.engine.restorer import Settings
from deal_cli.errors import BackendError, ExitCode, PictureError, UsageError
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import read_frame, write_frame
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.stack import create_stack, open_stack
from deal_cli.imaging.video.reader import open_video
from deal_cli.jobs.batch.pipeline import FILES_IN_FLIGHT
from deal_cli.jobs.restore import clips, sequence
from deal_cli.jobs.restore.outcome import Outcome
from deal_cli.jobs.restore.plan import RestoreRequest
from deal_cli.jobs.restore.restoration import Restoration
from deal_cli.jobs.restore.run import Batch, open_batch

KEEP = Settings(tone="keep")
VIDEO = [scene(at) for at in range(12)]
DEEP = [scene(at, "uint16") for at in range(12)]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def batch(inputs: Sequence[str], weights: Path | str, out: str = "out", **options: Any) -> Batch:
    settings = options.pop("settings", KEEP)
    return open_batch(
        RestoreRequest(list(inputs), out, Request("cpu", str(weights)), settings, **options)
    )


def run(inputs: Sequence[str], weights: Path | str, **options: Any) -> list[Outcome]:
    return list(batch(inputs, weights, **options).run())


def write_video(name: str, frames: Sequence[np.ndarray] = VIDEO, **options: Any) -> str:
    if frames[0].dtype == np.uint16:
        options.setdefault("pixel_format", "gray16le")
    Path(name).write_bytes(encoded([[frame] for frame in frames], **options))
    return name


def write_stack(name: str, frames: Sequence[np.ndarray]) -> str:
    with tifffile.TiffWriter(name) as writer:
        for frame in frames:
            writer.write(frame, metadata=None, contiguous=False)
    return name


def frames_of(path: str | Path) -> list[Frame]:
    opened = open_stack if str(path).endswith((".tif", ".tiff")) else open_video
    with opened(Path(path)) as clip:
        return list(clip.frames())


def left(folder: str = "out") -> list[str]:
    """Everything in a folder, hidden remains too."""
    return sorted(path.name for path in Path(folder).iterdir()) if Path(folder).exists() else []


class Counting(Backend):
    """Another backend that counts its passes, and may end in an error."""

    def __init__(self, inner: Backend, error: Exception | None = None) -> None:
        super().__init__(inner.facts)
        self._inner, self._error = inner, error
        self.passes = 0

    def run(self, x: np.ndarray, whole: np.ndarray | None = None) -> np.ndarray:
        self.passes += 1
        if self._error is not None:
            raise self._error
        return self._inner.run(x, whole)


class FakeClip:
    """Frames from a function, as often as they are asked for."""

    def __init__(self, frames: Callable[[], Iterator[Frame]], count: int | None = None) -> None:
        self.frames, self.count = frames, count


class Counted:
    """A writer that keeps how many frames came, and what `seen` makes of each."""

    def __init__(self, seen: Callable[[Frame], None] = lambda frame: None) -> None:
        self.count, self._seen = 0, seen

    def add(self, frame: Frame) -> None:
        self.count += 1
        self._seen(frame)


def fake(monkeypatch: pytest.MonkeyPatch, clip: FakeClip, writer: Counted | None = None) -> None:
    """Let the file that is restored next be this clip."""

    @contextmanager
    def opened(*_: Any, **__: Any) -> Iterator[FakeClip]:
        yield clip

    @contextmanager
    def created(*_: Any, **__: Any) -> Iterator[Counted]:
        assert writer is not None
        yield writer

    monkeypatch.setattr(clips, "open_clip", opened)
    if writer is not None:
        monkeypatch.setattr(clips, "create_clip", created)


# --- whole and in order --------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [VIDEO, DEEP], ids=["uint8", "uint16"])
@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_every_frame_of_a_video_comes_back_in_order_and_dtype(
    frames: list[np.ndarray], suffix: str, fresh_weights: Path
) -> None:
    name = write_video(f"x{suffix}", frames, container={".mkv": "matroska"}.get(suffix, "avi"))
    (outcome,) = run([name], fresh_weights)
    assert outcome.error is None
    made, read = frames_of(f"out/x{suffix}"), frames_of(name)
    assert len(made) == len(frames)
    for written, source in zip(made, read, strict=True):
        assert written.dtype == source.dtype == frames[0].dtype
        np.testing.assert_allclose(written.values, source.values, atol=0.01)
        assert written.metadata.moment == source.metadata.moment
    assert left() == [f"x{suffix}"]


def test_moments_of_an_uneven_pace_and_the_rate_are_kept(fresh_weights: Path) -> None:
    times = [0, 40, 95, 130, 400, 440, 480, 520, 560, 600, 640, 7000]
    write_video("x.mkv", times=times, base=Fraction(1, 1000))
    run(["x.mkv"], fresh_weights)
    moments = [frame.metadata.moment for frame in frames_of("out/x.mkv")]
    assert moments == [Fraction(time, 1000) for time in times]
    write_video("ntsc.mkv", rate=Fraction(30000, 1001), base=Fraction(1001, 30000))
    run(["ntsc.mkv"], fresh_weights)
    with open_video(Path("ntsc.mkv")) as source, open_video(Path("out/ntsc.mkv")) as made:
        assert made.facts.rate == source.facts.rate
        assert (made.facts.codec, made.facts.pixel_format) == ("ffv1", "gray")


def test_an_mp4_becomes_a_lossless_mkv_unless_a_codec_is_named(fresh_weights: Path) -> None:
    write_video("x.mp4", container="mp4")
    (lossless,) = run(["x.mp4"], fresh_weights)
    assert str(lossless.item.target) == "out/x.mkv"
    assert len(frames_of("out/x.mkv")) == 12
    (lossy,) = run(["x.mp4"], fresh_weights, codec="h264")
    assert str(lossy.item.target) == "out/x.mp4"
    made = frames_of("out/x.mp4")
    assert len(made) == 12
    assert np.abs(made[5].values - VIDEO[5]).mean() < 3


def test_pages_of_several_sizes_and_dtypes_come_back_in_order(fresh_weights: Path) -> None:
    pages = [DEEP[0], DEEP[1], VIDEO[2][:32], DEEP[3], (DEEP[4] / 100).astype(np.float32)]
    pages += [DEEP[5][:40, :50], DEEP[6]]
    write_stack("x.tif", pages)
    (outcome,) = run(["x.tif"], fresh_weights)
    assert outcome.summary is not None
    assert outcome.summary.frames == 7
    with tifffile.TiffFile("out/x.tif") as made:
        assert len(made.pages) == 7
        for page, source in zip(made.pages, pages, strict=True):
            array = page.asarray()
            assert array.dtype == source.dtype
            np.testing.assert_allclose(array, source, atol=0.01)


def test_a_stack_of_hundreds_of_pages_stays_in_order(fresh_weights: Path) -> None:
    pages = [np.full((32, 40), at, np.uint16) for at in range(400)]
    with create_stack(Path("x.tif"), compression="none") as writer:
        for page in pages:
            writer.add(Frame(page.astype(np.float32), page.dtype))
    run(["x.tif"], fresh_weights, find_pattern=False)
    np.testing.assert_array_equal(
        [frame.values[0, 0] for frame in frames_of("out/x.tif")], np.arange(400)
    )


def test_a_clip_is_told_as_a_whole(fresh_weights: Path) -> None:
    write_video("x.mkv", DEEP)
    told: list[tuple[int, int | None]] = []
    opened = batch(["x.mkv"], fresh_weights)
    opened.restoration.progress = lambda done, total, text: told.append((done, total))
    (outcome,) = opened.run()
    done = outcome.summary
    assert done is not None
    assert (done.frames, done.width, done.height, done.dtype) == (12, 64, 48, "uint16")
    assert done.fidelity is not None
    assert done.fidelity.pixels == 12 * 64 * 48
    assert done.fidelity.hottest_before.value == max(frame.max() for frame in DEEP)
    assert str(done).startswith("12 frames 64x48 uint16, range ")
    assert outcome.to_json(None)["frames"] == 12
    assert told[-1] == (12, 12)


def test_all_frames_have_one_range(fresh_weights: Path) -> None:
    dark, bright = DEEP[0] // 8, DEEP[1]
    write_stack("x.tif", [dark, bright, dark])
    (outcome,) = run(["x.tif"], fresh_weights, settings=replace(KEEP, range="image"))
    assert outcome.summary is not None
    assert outcome.summary.range == (dark.min(), bright.max())


def test_scale_and_strength_hold_for_every_frame(fresh_weights: Path) -> None:
    write_stack("x.tif", DEEP[:3])
    run(["x.tif"], fresh_weights, scale=2)
    assert [frame.values.shape for frame in frames_of("out/x.tif")] == [(96, 128)] * 3
    run(["x.tif"], "deal-fast", out="same", settings=replace(KEEP, strength=0.0))
    for frame, source in zip(frames_of("same/x.tif"), DEEP, strict=False):
        np.testing.assert_array_equal(frame.values, source)


def test_a_stack_of_counts_becomes_degrees(fresh_weights: Path) -> None:
    Path("one.jpg").write_bytes(flir())
    frame = read_frame(Path("one.jpg"))
    with create_stack(Path("x.tif")) as writer:
        for _ in range(3):
            writer.add(frame)
    (outcome,) = run(["x.tif"], fresh_weights, unit="celsius")
    assert outcome.error is None
    assert outcome.summary is not None
    assert outcome.summary.dtype == "float32"
    run(["one.jpg"], fresh_weights, unit="celsius")
    alone = read_frame(Path("out/one.tif"))
    made = frames_of("out/x.tif")
    assert len(made) == 3
    for one in made:
        assert one.dtype == np.float32
        np.testing.assert_allclose(one.values, alone.values, atol=0.01)


# --- what fails, fails alone and whole -----------------------------------------------------------


def two_more() -> list[str]:
    """A clip and a picture that follow."""
    write_frame(draw_scene(0, 40, 48), Path("z.png"))
    return [write_stack("y.tif", DEEP[:3]), "z.png"]


def check_the_rest(outcomes: Sequence[Outcome], cause: str, name: str) -> None:
    first, *rest = outcomes
    assert (first.status, first.summary) == ("failed", None)
    assert name in str(first.error.file if first.error else None)
    assert cause in str(first.error)
    assert first.error is not None
    assert first.error.exit_code is not ExitCode.UNAVAILABLE
    assert [one.status for one in rest] == ["restored", "restored"]
    assert left() == ["y.tif", "z.png"]


def test_a_bad_page_fails_its_stack_by_name_and_the_next_files_are_restored(
    fresh_weights: Path,
) -> None:
    write_stack("x.tif", DEEP)
    with tifffile.TiffFile("x.tif") as tiff:
        offset = tiff.pages[7].dataoffsets[0]
    data = Path("x.tif").read_bytes()
    Path("x.tif").write_bytes(data[: offset + 10])
    check_the_rest(run(["x.tif", *two_more()], fresh_weights), "page 8", "x.tif")


def test_a_page_in_false_colour_fails_its_stack_by_name(fresh_weights: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    with tifffile.TiffWriter("x.tif") as writer:
        for page, kind in ((VIDEO[0], "minisblack"), (colour, "rgb"), (VIDEO[1], "minisblack")):
            writer.write(page, photometric=kind, metadata=None, contiguous=False)
    check_the_rest(run(["x.tif", *two_more()], fresh_weights), "page 2 of 3", "x.tif")


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_video_that_was_cut_fails(share: float, fresh_weights: Path) -> None:
    data = Path(write_video("x.mkv")).read_bytes()
    Path("x.mkv").write_bytes(data[: int(share * len(data))])
    check_the_rest(run(["x.mkv", *two_more()], fresh_weights), "", "x.mkv")


def test_a_video_without_frames_fails(fresh_weights: Path) -> None:
    with av.open("x.avi", "w", format="avi") as out:
        video: Any = out.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "gray"
        out.start_encoding()
    check_the_rest(run(["x.avi", *two_more()], fresh_weights), "", "x.avi")


def test_a_clip_that_turns_out_empty_fails(
    fresh_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_stack("x.tif", DEEP[:2])
    fake(monkeypatch, FakeClip(lambda: iter(())))
    (outcome,) = run(["x.tif"], fresh_weights)
    assert "x.tif: holds no frames" in str(outcome.error)
    assert left() == []


def test_a_frame_that_fails_in_the_second_pass_alone_fails_the_clip(
    fresh_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = 0

    def frames() -> Iterator[Frame]:
        nonlocal passes
        passes += 1
        for at in range(600):
            if passes == 2 and at == 300:
                raise PictureError("page 301 is gone", remedy="look for it")
            yield Frame(np.full((32, 32), at, np.float32), np.dtype(np.uint16))

    write_stack("x.tif", DEEP[:2])
    opened = batch(["x.tif", *two_more()], fresh_weights, find_pattern=False)
    running = opened.run()
    with monkeypatch.context() as patched:
        fake(patched, FakeClip(frames))
        first = next(running)
    check_the_rest([first, *running], "page 301 is gone", "x.tif")
    assert passes == 2


@pytest.mark.parametrize("error", [RuntimeError("lost"), MemoryError()], ids=repr)
def test_a_frame_that_the_network_fails_on_fails_its_clip(
    error: Exception, fresh_weights: Path
) -> None:
    write_stack("x.tif", DEEP[:4])
    opened = batch(["x.tif", *two_more()], fresh_weights, find_pattern=False)
    sound = opened.restoration.restorer.backend
    opened.restoration.restorer.backend = Counting(sound, error)
    running = opened.run()
    first = next(running)
    opened.restoration.restorer.backend = sound
    told = "does not fit into memory" if isinstance(error, MemoryError) else "internal error"
    check_the_rest([first, *running], told, "x.tif")


def test_a_backend_that_gives_out_ends_the_batch_and_leaves_nothing(fresh_weights: Path) -> None:
    write_stack("x.tif", DEEP[:4])
    opened = batch(["x.tif", *two_more()], fresh_weights, find_pattern=False)
    opened.restoration.restorer.backend = Counting(
        opened.restoration.restorer.backend, OutOfMemoryError()
    )
    with pytest.raises(BackendError, match="out of memory") as caught:
        list(opened.run())
    assert caught.value.exit_code is ExitCode.UNAVAILABLE
    assert left() == []


def test_sixteen_bits_and_a_codec_of_eight_are_refused_before_any_pass(
    fresh_weights: Path,
) -> None:
    write_video("x.mkv", DEEP)
    opened = batch(["x.mkv", *two_more()], fresh_weights, codec="h264")
    counting = Counting(opened.restoration.restorer.backend)
    opened.restoration.restorer.backend = counting
    running = opened.run()
    first = next(running)
    assert counting.passes == 0
    check_the_rest([first, *running], "h264 cannot hold uint16 pixels", "x.mkv")
    assert isinstance(first.error, UsageError)
    assert "--codec ffv1" in str(first.error)
    assert counting.passes > 0


def test_a_folder_that_cannot_be_made_fails_the_clip(fresh_weights: Path) -> None:
    write_stack("x.tif", DEEP[:2])
    Path("file").touch()
    (outcome,) = run(["x.tif"], fresh_weights, out="file/x.tif")
    assert outcome.status == "failed"
    assert outcome.error is not None


# --- what exists ---------------------------------------------------------------------------------


def test_an_output_that_exists_is_skipped_unless_it_is_to_be_replaced(
    fresh_weights: Path,
) -> None:
    write_stack("x.tif", DEEP[:2])
    Path("out").mkdir()
    Path("out/x.tif").write_text("mine", encoding="utf-8")
    opened = batch(["x.tif"], fresh_weights)
    counting = Counting(opened.restoration.restorer.backend)
    opened.restoration.restorer.backend = counting
    (outcome,) = opened.run()
    assert (outcome.status, counting.passes) == ("skipped", 0)
    assert Path("out/x.tif").read_text(encoding="utf-8") == "mine"
    (outcome,) = run(["x.tif"], fresh_weights, overwrite=True)
    assert outcome.status == "restored"
    assert len(frames_of("out/x.tif")) == 2


def test_a_clip_that_fails_leaves_the_old_output(fresh_weights: Path) -> None:
    data = Path(write_stack("x.tif", DEEP)).read_bytes()
    Path("x.tif").write_bytes(data[: len(data) // 2])
    Path("out").mkdir()
    Path("out/x.tif").write_text("mine", encoding="utf-8")
    (outcome,) = run(["x.tif"], fresh_weights, overwrite=True)
    assert outcome.status == "failed"
    assert Path("out/x.tif").read_text(encoding="utf-8") == "mine"
    assert left() == ["x.tif"]


def test_a_clip_may_replace_itself(fresh_weights: Path) -> None:
    write_stack("x.tif", DEEP[:3])
    (outcome,) = run(["x.tif"], fresh_weights, out=".", overwrite=True)
    assert outcome.status == "restored"
    np.testing.assert_allclose([f.values for f in frames_of("x.tif")], DEEP[:3], atol=0.01)


# --- memory, and the end of it all ---------------------------------------------------------------


def test_however_long_a_clip_is_few_frames_are_in_memory(
    fresh_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: weakref.WeakSet[Frame] = weakref.WeakSet()
    lock, most, order = threading.Lock(), 0, []

    def frames() -> Iterator[Frame]:
        nonlocal most
        for at in range(5000):
            frame = Frame(np.full((16, 16), at, np.float32), np.dtype(np.uint16))
            with lock:
                alive.add(frame)
                most = max(most, len(alive))
            yield frame
            del frame

    def seen(frame: Frame) -> None:
        order.append(int(frame.values[0, 0]))
        with lock:
            alive.add(frame)

    write_stack("x.tif", DEEP[:2])
    opened = batch(["x.tif"], fresh_weights, find_pattern=False)
    largest = opened.restoration.capacity(
        Frame(np.zeros((16, 16), np.float32), np.dtype(np.uint16))
    )
    fake(monkeypatch, FakeClip(frames, 5000), Counted(seen))
    (outcome,) = opened.run()
    assert outcome.error is None
    assert outcome.summary is not None
    assert outcome.summary.frames == 5000
    assert order == list(range(5000))
    # Read, or worked on, or waiting to be written: and no more. A survey keeps samples of its own.
    assert most <= FILES_IN_FLIGHT + 3 * largest + 10


@pytest.mark.parametrize("moment", ["looking", "restoring"])
def test_an_interruption_leaves_nothing_and_no_thread(moment: str, fresh_weights: Path) -> None:
    write_video("x.mkv", [scene(at) for at in range(60)])
    opened = batch(["x.mkv"], fresh_weights, find_pattern=False)
    calls = 0

    def interrupt(done: int, total: int | None, text: str) -> None:
        nonlocal calls
        if moment in text:
            calls += 1
            if calls == 5:
                raise KeyboardInterrupt

    opened.restoration.progress = interrupt
    with pytest.raises(KeyboardInterrupt):
        list(opened.run())
    assert calls == 5
    assert left() == []
    names = [thread.name.partition("_")[0] for thread in threading.enumerate()]
    assert not {"read", "work", "write"} & set(names)


def test_a_writer_that_fails_in_the_middle_leaves_nothing(
    fresh_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video("x.mkv", DEEP)
    real = Restoration.written
    calls = 0

    def written(self: Restoration, frame: Frame) -> Frame:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise PictureError("of no use", remedy="none")
        return real(self, frame)

    monkeypatch.setattr(Restoration, "written", written)
    (outcome,) = run(["x.mkv"], fresh_weights)
    assert "x.mkv: of no use" in str(outcome.error)
    assert left() == []


def test_leaving_the_outcomes_early_leaves_nothing_half_written(fresh_weights: Path) -> None:
    opened = batch([write_stack("x.tif", DEEP[:3]), *two_more()], fresh_weights)
    running = opened.run()
    assert next(running).status == "restored"
    running.close()
    assert left() == ["x.tif"]
    assert len(frames_of("out/x.tif")) == 3


# --- a fixed pattern -----------------------------------------------------------------------------

SIZE = 96, 128


def views(seed: int, count: int = 24) -> list[np.ndarray]:
    """Down and to the right: a level horizon would stand still while a view only pans."""
    height, width = SIZE
    canvas = draw_scene(seed, height + 6 * count, width + 9 * count, "uint16").values
    return [canvas[6 * at : 6 * at + height, 9 * at : 9 * at + width] for at in range(count)]


def through_a_camera(frames: Sequence[np.ndarray], seed: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    offset = rng.normal(0, 80, SIZE[1]) + rng.normal(0, 50, SIZE)
    noisy = [frame + offset + rng.normal(0, 15, SIZE) for frame in frames]
    return [np.rint(frame).clip(0, 65535).astype(np.uint16) for frame in noisy]


def psnr(path: str, clean: Sequence[np.ndarray]) -> float:
    made = np.stack([frame.values for frame in frames_of(path)])
    return float(20 * np.log10(2500 / np.sqrt(((made - np.stack(clean)) ** 2).mean())))


def test_a_pattern_is_found_saved_and_serves_the_next_clip_of_the_camera() -> None:
    first, second = views(0), views(3, 5)
    write_stack("first.tif", through_a_camera(first))
    write_video("second.mkv", through_a_camera(second), size=SIZE)
    saved = Path("kept/camera.safetensors")
    said: list[str] = []
    opened = batch(["first.tif"], "deal-fast", save_pattern=saved)
    opened.restoration.say = said.append
    (outcome,) = opened.run()
    assert outcome.summary is not None
    assert "fixed pattern of" in outcome.summary.finding.reason
    assert opened.restoration.unsaved is None
    assert any("first.tif" in line and "fixed pattern" in line for line in said)
    assert load_pattern(saved).offset.shape == SIZE
    # Five frames are too few to find one, and enough to take it off.
    (alone,) = run(["second.mkv"], "deal-fast", out="alone")
    assert alone.summary is not None
    assert alone.summary.finding is None
    run(["second.mkv"], "deal-fast", out="with", pattern=saved)
    assert psnr("with/second.mkv", second) >= psnr("alone/second.mkv", second) + 3
    run(["first.tif"], "deal-fast", out="off", find_pattern=False)
    assert psnr("out/first.tif", first) >= psnr("off/first.tif", first) + 3


def test_the_pattern_of_another_camera_fails_the_clip_by_name(fresh_weights: Path) -> None:
    saved = Path("camera.safetensors")
    write_stack("x.tif", through_a_camera(views(0)))
    opened = batch(["x.tif"], fresh_weights, save_pattern=saved)
    list(opened.run())
    assert opened.restoration.unsaved is None
    write_stack("other.tif", through_a_camera(views(0), seed=5))
    write_stack("small.tif", DEEP[:2])
    outcomes = run(["other.tif", "small.tif", "x.tif"], fresh_weights, out="b", pattern=saved)
    assert [one.status for one in outcomes] == ["failed", "failed", "restored"]
    assert "other.tif: " in str(outcomes[0].error)
    assert "does not show the fixed pattern" in str(outcomes[0].error)
    assert "is 64x48, and the pattern 128x96" in str(outcomes[1].error)
    assert left("b") == ["x.tif"]


def test_why_no_pattern_was_saved_is_told(fresh_weights: Path) -> None:
    write_stack("x.tif", [DEEP[0]] * 9)
    opened = batch(["x.tif"], fresh_weights, save_pattern=Path("camera.safetensors"))
    (outcome,) = opened.run()
    assert outcome.status == "restored"
    assert "too little motion" in str(opened.restoration.unsaved)
    assert not Path("camera.safetensors").exists()


# --- flicker -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("tone", ["keep", "auto"])
def test_a_scene_that_stands_still_does_not_flicker(dtype: Any, tone: Any) -> None:
    clean = draw_scene(2, 64, 96, dtype).values
    rng = np.random.default_rng(0)
    sigma, flicker = (4, 1) if dtype == "uint8" else (40, 10)
    seen = [
        np.rint(clean + rng.normal(0, sigma, clean.shape) + rng.normal(0, flicker))
        .clip(0, np.iinfo(dtype).max)
        .astype(dtype)
        for _ in range(14)
    ]
    seen[6][20:24, 30:34] = np.iinfo(dtype).max  # something very hot passes by
    write_video("x.mkv", seen)
    run(["x.mkv"], "deal-fast", settings=Settings(tone=tone))
    made = np.stack([frame.values for frame in frames_of("out/x.mkv")])
    source = np.stack(seen).astype(np.float32)
    for region in (np.s_[:, :16, :], np.s_[:, 40:, :], np.s_[:, 40:, 50:]):
        before = source[region].mean((1, 2)).std()
        assert made[region].mean((1, 2)).std() <= 1.01 * before
    assert made[:, 40:].std(0).mean() < source[:, 40:].std(0).mean()


def test_a_frame_that_does_not_show_the_pattern_is_restored_by_itself() -> None:
    clean = views(0)
    seen = through_a_camera(clean)
    seen[10] = np.full(SIZE, 8000, np.uint16)  # the shutter, or a lens cap
    write_stack("blink.tif", seen)
    (outcome,) = run(["blink.tif"], "deal-fast")
    assert outcome.status == "restored", outcome.error
    assert outcome.summary is not None
    assert outcome.summary.finding is not None
    assert outcome.summary.finding.pattern is not None
    made = frames_of("out/blink.tif")
    assert len(made) == len(clean)
    assert abs(made[10].values - 8000).max() < 20  # no pattern is stamped onto it


def test_what_nobody_foresaw_ends_one_clip_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    write_stack("x.tif", through_a_camera(views(0)))

    def fails(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(sequence, "estimate", fails)
    outcomes = run(["x.tif", *two_more()], "deal-fast")
    assert [outcome.status for outcome in outcomes] == ["failed", "restored", "restored"]
    assert "memory" in str(outcomes[0].error)
    assert not Path("out/x.tif").exists()
