"""Every example of the documentation runs, or is at least what the command line takes.

Each page gets a folder of its own, in which its examples run one after the other through the real
entry point, in this process, with the bundled weights. What they name is drawn before they run:
small pictures, clips and radiometric files.
"""

from __future__ import annotations

import io
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from command import ROOT
from imaging import radiometric_files
from PIL import Image

from deal_cli.cli.app import app, main
from deal_cli.config import TrainConfig
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import encode, write_frame
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.stack import create_stack
from deal_cli.imaging.video.clip_files import STACK_SUFFIXES
from deal_cli.imaging.video.reader import VIDEO_SUFFIXES
from deal_cli.imaging.video.writer import create_video
from deal_cli.jobs import demo
from deal_cli.jobs.degrade.sidecar import Scene
from deal_cli.mapping import load_toml

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
HEIGHT, WIDTH = 48, 64
VIEWS, CLIP = 16, (64, 96)  # frames, height and width, in which a fixed pattern can be found

#: What is parsed and not run: a part of the examples, and why.
PARSED = {
    "deal train": "trains for minutes; tests/jobs/train/test_run.py runs trainings",
    "deal bench": "keeps the machine for minutes; tests/jobs/bench/test_run.py times small ones",
    "deal export": "traces and verifies for ten seconds; tests/jobs/weights/test_export.py does so",
    "deal weights pull": "asks the Hugging Face Hub; tests/test_weights_command.py has a stand-in",
    "--backend cuda": "needs an NVIDIA GPU",
}

#: Examples that show what a failure looks like, and their exit codes.
FAILING = {"deal restore practice/degraded -o restored --weights deal-fast": 1}

#: What lies in the folders and files that are special; all others hold what their suffix says.
RADIOMETRIC = ("FLIR0042.jpg", "flight", "rjpeg")
SHUTTERLESS = {"drive.mkv": VIEWS, "next.mkv": 3, "later": 1}  # frames of one camera
COLOURED = ("palette.png",)
PLAIN = {("degrade.md", "flight")}  # pages whose examples name other files in such a folder
FEW = ("clean_pictures",)  # one picture will do, as it is scored many times


@dataclass(frozen=True)
class Example:
    """One line of a page.

    Attributes:
        text: as it stands there, without the comment.
        words: of the command, `deal` itself left out; none where another program is called.
        source: what stands before a pipe, if anything.
        target: the file that stdout goes to, if any.
    """

    text: str
    words: tuple[str, ...]
    source: str | None = None
    target: str | None = None

    @classmethod
    def of(cls, line: str) -> Example | None:
        """The example in a line of a shell block; None where there is none of ours."""
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|>")
        lexer.whitespace_split = True
        words = list(lexer)
        if not words:
            return None
        text, source, target = line.split(" #")[0].strip(), None, None
        if ">" in words:
            at = words.index(">")
            target, words = words[at + 1], words[:at]
        if "|" in words:
            at = words.index("|")
            source, words = " ".join(words[:at]), words[at + 1 :]
        if words[0] in ("echo", "rm"):
            return cls(text, (), " ".join(words), target)
        return cls(text, tuple(words[1:]), source, target) if words[0] == "deal" else None


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def examples(page: Path) -> list[Example]:
    lines = (line for block in blocks(page, "sh") for line in block.splitlines())
    return [example for line in lines if (example := Example.of(line))]


def parsed(words: Sequence[str]) -> dict[str, Any]:
    """The arguments and options of a command, by the real parser."""
    command: Any = typer.main.get_command(app)
    path, rest = "deal", list(words)
    while hasattr(command, "commands"):
        name = rest.pop(0)
        assert name in command.commands, f"there is no {path} {name}"
        command, path = command.commands[name], f"{path} {name}"
    try:
        return dict(command.make_context(path, rest).params)
    except Exception as error:
        raise AssertionError(f"deal {shlex.join(words)}: {error}") from error


# --- what the examples name ----------------------------------------------------------------------


def scene(seed: int, dtype: str = "uint8", size: tuple[int, int] = (HEIGHT, WIDTH)) -> Frame:
    return draw_scene(seed, *size, dtype)


def shutterless(count: int, seed: int) -> list[Frame]:
    """16-bit counts of a view that moves down and to the right, behind a fixed pattern."""
    height, width = CLIP
    canvas = draw_scene(seed, height + 6 * count, width + 9 * count, "uint16")
    rng = np.random.default_rng(1)
    offset = rng.normal(0, 80, width) + rng.normal(0, 50, CLIP)
    frames = []
    for at in range(count):
        view = canvas.values[6 * at : 6 * at + height, 9 * at : 9 * at + width]
        seen = np.rint(view + offset + rng.normal(0, 15, CLIP)).astype(np.float32)
        frames.append(replace(canvas, values=seen))
    return frames


def make_file(path: Path, kind: str, seed: int) -> None:
    """Draw what a path should hold."""
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix.lower()
    if kind in RADIOMETRIC and suffix in (".jpg", ".jpeg"):
        path.write_bytes(radiometric_files.flir(radiometric_files.counts(HEIGHT, WIDTH)))
    elif kind in SHUTTERLESS:
        write_frames(path, shutterless(SHUTTERLESS[kind], seed))
    elif suffix in VIDEO_SUFFIXES or path.stem == "stack":
        write_frames(path, [scene(seed + at) for at in range(3)])
    elif kind in COLOURED:
        colours = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(colours).save(path)
    else:
        dtype = "uint16" if suffix in (*STACK_SUFFIXES, ".npy") else "uint8"
        write_frame(scene(seed, dtype), path)


def write_frames(path: Path, frames: Sequence[Frame]) -> None:
    """A video, a stack or, of a single frame, a picture."""
    if len(frames) == 1:
        write_frame(frames[0], path)
        return
    with (create_video if path.suffix in VIDEO_SUFFIXES else create_stack)(path) as writer:
        for frame in frames:
            writer.add(frame)


def supply(page: Path, name: str) -> None:
    """Draw an input of an example, unless it is there: of the checkout, drawn, or just made."""
    if name == "-" or Path(name).exists():
        return
    if name.startswith("@"):
        make_file(Path("listed.png"), "listed.png", 0)
        Path(name[1:]).write_text("listed.png\n", encoding="utf-8")
    elif (ROOT / name).is_dir() and name.startswith("docs/"):
        shutil.copytree(ROOT / name, name)
    elif (ROOT / name).is_file() and name.startswith("docs/"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, name)
    elif "*" in name:
        folder, suffix = Path(name).parent, Path(name).suffix
        for seed, stem in enumerate("ab"):
            make_file(folder / f"{stem}{suffix}", folder.name, seed)
    elif Path(name).suffix:
        make_file(Path(name), Path(name).name, 0)
    else:
        folder = Path(name)
        flight = folder.name in RADIOMETRIC and (page.name, folder.name) not in PLAIN
        suffix = ".jpg" if flight else ".png"
        inner = folder / "spring" if folder.name == "season" else folder
        for seed, stem in enumerate("a" if folder.name in FEW else "ab"):
            make_file(inner / f"{stem}{suffix}", folder.name, seed)


def supply_weights(name: str) -> None:
    """Copy bundled weights to where an example expects some of its own."""
    path = Path(name)
    if path.suffix and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        bundled = "generator" if path.stem == "generator" else "deal-fast"
        shutil.copyfile(ROOT / "weights" / f"{bundled}{path.suffix}", path)


# --- running them --------------------------------------------------------------------------------


@pytest.fixture
def workplace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> Iterator[pytest.MonkeyPatch]:
    """An empty folder, small drawn scenes, and no browser."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "HEIGHT", HEIGHT)
    monkeypatch.setattr(demo, "WIDTH", WIDTH)
    monkeypatch.setattr(Scene.__init__, "__defaults__", (HEIGHT, WIDTH, "uint8"))
    monkeypatch.setattr(typer, "launch", lambda url: 0)
    before = signal.getsignal(signal.SIGTERM)
    yield monkeypatch
    signal.signal(signal.SIGTERM, before)


def run(words: Sequence[str], given: bytes, patch: pytest.MonkeyPatch) -> tuple[int, bytes, str]:
    """Exit code, stdout and stderr of a command."""
    streams = [io.TextIOWrapper(io.BytesIO(data), "utf-8") for data in (given, b"", b"")]
    for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
        patch.setattr(sys, name, stream)
    patch.setattr(sys, "argv", ["deal", *words])
    with pytest.raises(SystemExit) as caught:
        main(words)
    for stream in streams[1:]:
        stream.flush()
    out, told = (stream.buffer.getvalue() for stream in streams[1:])  # type: ignore[attr-defined]
    return int(caught.value.code or 0), out, told.decode()


def prepare(page: Path, options: dict[str, Any], repeated: bool) -> None:
    """Draw what a command reads, and clear away what another one left where it writes."""
    inputs: list[Any] = []
    for key in ("inputs", "clean", "degraded", "more"):
        inputs += options.get(key) or ()
    inputs += [options[key] for key in ("before", "after") if key in options]
    for name in inputs:
        supply(page, str(name).rstrip("/"))
    supply_weights(str(options.get("weights", "")))
    out = options.get("out")
    if out is None or str(out) == "-" or repeated:
        return
    if not any(Path(str(name)).is_relative_to(Path(out)) for name in inputs):
        clear(Path(out))


def clear(path: Path) -> None:
    """Remove a file or a folder, if there is one."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def called(example: Example) -> None:
    """Do what `echo` and `rm` do."""
    name, *rest = (example.source or "").split()
    if name == "rm":
        Path(rest[0]).unlink()
    else:
        assert example.target is not None
        Path(example.target).write_text(" ".join(rest) + "\n", encoding="utf-8")


def fault(page: Path, example: Example, repeated: bool, patch: pytest.MonkeyPatch) -> str | None:
    """What is wrong with an example, if anything."""
    options = parsed(example.words)
    if any(part in example.text for part in PARSED):
        return None
    prepare(page, options, repeated)
    given = encode(scene(0), ".png") if example.source else b""
    code, out, told = run(example.words, given, patch)
    wanted = FAILING.get(example.text, 0) if not repeated else 0
    if code != wanted:
        return f"{example.text}: exit code {code}\n{told}"
    if example.target is not None:
        Path(example.target).write_bytes(out)
        return None if out else f"{example.text}: says nothing"
    made = options.get("out")
    if made is None or str(made) == "-" or options.get("dry_run"):
        return None
    if not Path(made).exists():
        return f"{example.text}: writes no {made}"
    if str(made) not in example.words:  # where it was not asked to, and others may read
        clear(Path(made))
    return None


@pytest.mark.parametrize("page", [p for p in PAGES if examples(p)], ids=lambda page: page.name)
def test_every_example_of_the_page_runs(page: Path, workplace: pytest.MonkeyPatch) -> None:
    faults, seen = [], set()
    for example in examples(page):
        if not example.words:
            called(example)
            continue
        faults.append(fault(page, example, example.text in seen, workplace))
        seen.add(example.text)
    assert [found for found in faults if found] == []


def test_every_exception_is_of_an_example() -> None:
    texts = [example.text for page in PAGES for example in examples(page)]
    assert [part for part in PARSED if not any(part in text for text in texts)] == []
    assert set(FAILING) <= set(texts)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "toml")], ids=lambda p: p.name)
def test_every_file_of_settings_on_the_page_is_one(page: Path, tmp_path: Path) -> None:
    for block in blocks(page, "toml"):
        file = tmp_path / "settings.toml"
        file.write_text(block, encoding="utf-8")
        assert load_toml(TrainConfig, file) != TrainConfig()
