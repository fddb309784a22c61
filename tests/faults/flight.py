"""A whole mixed flight in one run: is every file accounted for, and what does a person see?

    python tests/faults/flight.py --files 400 --weights deal-fast

Draws radiometric JPEGs, 8-bit, 16-bit and float pictures, a map's tiles, stacks, two videos and a
few bad files into a temporary folder, restores the folder with one `deal restore --json`, and
compares every row and every file with what must have become of it. Prints what the command said at
its end, pictures a second and peak memory (Linux only: it reads /proc).
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import av  # noqa: E402
from imaging import clips, radiometric_files  # noqa: E402

from deal_cli.imaging.drawn.scenes import draw_scene  # noqa: E402
from deal_cli.imaging.files import encode  # noqa: E402
from deal_cli.imaging.frame import Frame, Metadata  # noqa: E402

SCENES = 12  # different ones; the files repeat them with noise of their own
NODATA = -9999.0
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><!-- of a flight --></x:xmpmeta>"
DJI_SENSOR = (256, 192)  # the smallest but one whose size is known

Counts = np.ndarray


@dataclass(frozen=True)
class Drawn:
    """A file of a flight, and what must become of it.

    Attributes:
        name: of the file.
        data: its bytes.
        made: the suffix of what is made of it; None where it must fail.
        size: width and height of what is made.
        dtype: of its pixels.
        frames: of a clip.
        cause: words of the error of one that must fail.
        gaps: pixels that are written as they were, where there are any.
    """

    name: str
    data: bytes
    made: str | None = None
    size: tuple[int, int] = (0, 0)
    dtype: str = ""
    frames: int | None = None
    cause: str = ""
    gaps: np.ndarray | None = None

    @property
    def target(self) -> str:
        """The name of what is made."""
        return str(Path(self.name).with_suffix(self.made or ""))


@dataclass(frozen=True)
class Run:
    """What one command did: `rows` by the name of the input, MiB and seconds."""

    code: int
    rows: dict[str, dict[str, Any]]
    said: list[str]
    peak: float
    seconds: float


# --- drawing -------------------------------------------------------------------------------------


class Scenes:
    """Degraded scenes of one size: column stripes and noise over drawn ones."""

    def __init__(self, size: tuple[int, int], seed: int) -> None:
        self._width, self._height = size
        self._rng = np.random.default_rng(seed)
        shape = self._height, self._width
        self._clean = [draw_scene(k, *shape, "uint16").values for k in range(SCENES)]

    def counts(self, spread: float = 25) -> Counts:
        """`(H, W)` uint16 counts about 7000 to 9500, with stripes of σ `spread` counts."""
        clean = self._clean[self._rng.integers(SCENES)]
        if self._rng.random() < 0.5:
            clean = clean[:, ::-1]
        stripes = self._rng.normal(0, spread, (1, self._width))
        seen = clean + stripes + self._rng.normal(0, 12, clean.shape)
        return np.rint(seen).clip(0, 65535).astype(np.uint16)

    def levels(self) -> Counts:
        """`(H, W)` uint8 grey levels."""
        counts = self.counts().astype(np.float32)
        low, high = np.percentile(counts, (0.5, 99.5))
        return np.rint(((counts - low) / (high - low) * 235 + 10).clip(0, 255)).astype(np.uint8)

    def moving(self, count: int, step: int = 12, spread: float = 25) -> tuple[Counts, Counts]:
        """Frames of a camera that flies on, its stripes standing still: seen and clean, uint16.

        Args:
            count: of frames.
            step: pixels sideways from one to the next; half as many downwards.
            spread: of the stripes, σ in counts.
        """
        height, width = self._height + step * count // 2, self._width + step * count
        view = draw_scene(int(self._rng.integers(1000)), height, width, "uint16").values
        places = [(step * k // 2, step * k) for k in range(count)]
        clean = np.stack([view[y:, x:][: self._height, : self._width] for y, x in places])
        seen = clean + self._rng.normal(0, spread, (1, 1, self._width))
        seen += self._rng.normal(0, 12, clean.shape)
        pixels = [np.rint(one).clip(0, 65535).astype(np.uint16) for one in (seen, clean)]
        return pixels[0], pixels[1]

    def film(self, count: int) -> list[Counts]:
        """The same in grey levels, `(H, W)` uint8."""
        seen = self.moving(count)[0].astype(np.float32)
        low, high = np.percentile(seen, (0.5, 99.5))
        levels = ((seen - low) / (high - low) * 235 + 10).clip(0, 255)
        return list(np.rint(levels).astype(np.uint8))

    def celsius(self) -> Counts:
        """`(H, W)` float32 °C."""
        return (self.counts().astype(np.float32) - 7000) / 40 - 10


def stored(pixels: Counts, suffix: str) -> bytes:
    """The bytes of a picture."""
    return encode(Frame(pixels.astype(np.float32), pixels.dtype, Metadata()), suffix)


def flir(pixels: Counts) -> bytes:
    """A radiometric JPEG of FLIR with EXIF, GPS and XMP, its visible picture twice as large."""
    height, width = pixels.shape
    size = 2 * width, 2 * height
    records = [(32, radiometric_files.camera_record()), (1, radiometric_files.plain(pixels))]
    xmp = radiometric_files.segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)
    parts = radiometric_files.flir_segments(radiometric_files.fff(records))
    label = radiometric_files.label("FLIR Systems AB", size)
    place = label.get_ifd(0x8825)
    place[1], place[2] = "N", (48.0, 51.0, 30.0)
    return radiometric_files.jpeg(xmp, *parts, size=size, exif=label)


def flir_without_counts() -> bytes:
    """What a program that edits pictures leaves: the records of the camera alone."""
    block = radiometric_files.fff([(32, radiometric_files.camera_record())])
    return radiometric_files.jpeg(*radiometric_files.flir_segments(block))


def bands(pixels: Counts, count: int = 5) -> bytes:
    """A TIFF of many channels."""
    stream = io.BytesIO()
    many = pixels[..., None] + np.arange(count, dtype=pixels.dtype)
    tifffile.imwrite(stream, many, photometric="minisblack", planarconfig="contig")
    return stream.getvalue()


def stack(pages: Sequence[Counts]) -> bytes:
    """A TIFF of a page each."""
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.stack(pages), photometric="minisblack", metadata=None)
    return stream.getvalue()


def geotiff(pixels: Counts) -> bytes:
    """A tile of a map, whose gaps hold GDAL's nodata number."""
    stream = io.BytesIO()
    place = (0.0, 0.0, 0.0, 421000.0, 5411000.0, 0.0)
    tags = [
        (33550, "d", 3, (0.1, 0.1, 0.0), True),
        (33922, "d", 6, place, True),
        (34735, "H", 8, (1, 1, 0, 1, 3072, 0, 1, 32633), True),
        (42113, "s", 0, f"{NODATA:g}", True),
    ]
    tifffile.imwrite(stream, pixels, photometric="minisblack", metadata=None, extratags=tags)
    return stream.getvalue()


def film(moving: Sequence[np.ndarray], container: str = "avi") -> bytes:
    """A video of 8-bit frames: FFV1 in AVI and Matroska, H.264 in MP4."""
    if container != "mp4":
        return clips.encoded([[one] for one in moving], container=container)
    yuv = [clips.neutral(one) for one in moving]
    return clips.encoded(yuv, container="mp4", codec="libx264", pixel_format="yuv420p")


def film_of_changing_size() -> bytes:
    """An AVI whose fourth frame is narrower."""
    stream = io.BytesIO()
    with av.open(stream, "w", format="avi") as out:
        video: Any = out.add_stream("mjpeg", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuvj420p"
        packets = []
        for index in range(4):
            encoder: Any = av.CodecContext.create("mjpeg", "w")
            encoder.width, encoder.height = 64 if index < 3 else 32, 48
            encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 25)
            grey = av.VideoFrame.from_ndarray(clips.scene(index, width=encoder.width), "gray")
            frame = grey.reformat(format="yuvj420p")
            frame.pts = 0
            for packet in encoder.encode(frame) + encoder.encode(None):
                packet.stream, packet.pts, packet.dts = video, index, index
                packet.time_base = Fraction(1, 25)
                packets.append(packet)
        out.mux(packets)
    return stream.getvalue()


def film_of_no_frames() -> bytes:
    """An AVI that ends where its first frame would begin."""
    stream = io.BytesIO()
    with av.open(stream, "w", format="avi") as out:
        video: Any = out.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "gray"
        out.start_encoding()
    return stream.getvalue()


def bad_files(scenes: Scenes) -> list[Drawn]:
    """Files that must be refused, one of each kind."""
    video = film([clips.scene(k) for k in range(6)], "matroska")
    tiles = stored(scenes.counts(), ".tif")
    false_colour = radiometric_files.jpeg()
    lost = radiometric_files.dji(np.zeros((100, 100), np.uint16), (64, 48))
    return [
        Drawn("stripped.jpg", flir_without_counts(), cause="without the camera's raw counts"),
        Drawn("bands.tif", bands(scenes.counts()), cause="5 bands"),
        Drawn("cut.mkv", video[: len(video) * 2 // 3], cause="truncated"),
        Drawn("changing.avi", film_of_changing_size(), cause="frame 4 is 32x48"),
        Drawn("cut.tif", tiles[: len(tiles) // 2], cause="truncated"),
        Drawn("nothing.avi", film_of_no_frames(), cause="its first frame cannot be read"),
        Drawn("empty.png", b"", cause="is empty"),
        Drawn("palette.jpg", false_colour, cause="false colour"),
        Drawn("note.png", b"not a picture at all", cause="is not a picture"),
        Drawn("unknown.jpg", lost, cause="fit no known size"),
    ]


def draw(files: int, size: tuple[int, int], bad: int, seed: int = 0) -> list[Drawn]:
    """A flight of so many files, so many of them bad, in the order of their names."""
    scenes, sensor = Scenes(size, seed), Scenes(DJI_SENSOR, seed + 1)
    rng = np.random.default_rng(seed)

    def of_flir() -> Drawn:
        return Drawn("flir.jpg", flir(scenes.counts()), ".tif", size, "uint16")

    def of_dji() -> Drawn:
        data = radiometric_files.dji(sensor.counts(), (320, 240))
        return Drawn("dji.JPG", data, ".tif", DJI_SENSOR, "uint16")

    def picture(suffix: str, dtype: str) -> Callable[[], Drawn]:
        def make() -> Drawn:
            pixels = scenes.levels() if dtype == "uint8" else scenes.counts()
            return Drawn(f"{dtype}{suffix}", stored(pixels, suffix), suffix, size, dtype)

        return make

    def degrees() -> Drawn:
        pixels = scenes.celsius()
        pixels[rng.random(pixels.shape) < 0.002] = np.nan
        data, gaps = stored(pixels, ".tif"), np.isnan(pixels)
        return Drawn("celsius.tif", data, ".tif", size, "float32", gaps=gaps)

    def tile() -> Drawn:
        pixels = scenes.celsius()
        pixels[: size[1] // 4, : size[0] // 3] = NODATA
        gaps = pixels == NODATA
        return Drawn("map.tif", geotiff(pixels), ".tif", size, "float32", gaps=gaps)

    def pages() -> Drawn:
        many = [scenes.counts() for _ in range(4)]
        return Drawn("stack.tif", stack(many), ".tif", size, "uint16", frames=4)

    kinds: list[tuple[float, Callable[[], Drawn]]] = [
        (0.30, of_flir),
        (0.16, of_dji),
        (0.12, picture(".tif", "uint16")),
        (0.10, picture(".png", "uint16")),
        (0.10, picture(".png", "uint8")),
        (0.08, picture(".jpg", "uint8")),
        (0.06, degrees),
        (0.05, tile),
        (0.03, pages),
    ]
    drawn = [
        Drawn("film.avi", film(scenes.film(8)), ".avi", size, "uint8", frames=8),
        Drawn("film.mp4", film(scenes.film(8), "mp4"), ".mkv", size, "uint8", frames=8),
    ]
    of_kinds = bad_files(scenes)
    drawn += [of_kinds[k % len(of_kinds)] for k in range(bad)]
    drawn += [make() for _, make in kinds]
    chances = np.array([share for share, _ in kinds])
    while len(drawn) < files:
        drawn.append(kinds[rng.choice(len(kinds), p=chances / chances.sum())][1]())
    order = rng.permutation(len(drawn))
    return [
        replace(drawn[k], name=f"{place:04}-{drawn[k].name}") for place, k in enumerate(order, 1)
    ]


# --- the run, and what must have come of it ------------------------------------------------------


def restore(source: Path, target: Path, options: Sequence[str]) -> Run:
    """Run `deal restore` over a folder and watch its memory."""
    command = [sys.executable, "-m", "deal_cli", "restore", str(source), "-o", str(target)]
    started, peak = time.perf_counter(), 0.0
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        process = subprocess.Popen(
            [*command, "--json", *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=said, text=True
        )
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                row = json.loads(line)
                name = Path(row["input"]).name
                assert name not in rows, f"two rows of {name}"
                rows[name] = row
                peak = max(peak, _peak(process.pid))
        code = process.wait()
        said.seek(0)
        told = said.read().splitlines()
    return Run(code, rows, told, peak, time.perf_counter() - started)


def faults(drawn: Sequence[Drawn], target: Path, run: Run) -> list[str]:
    """Everything that is not as it must be, a line each."""
    found: list[str] = []

    def claim(holds: object, text: str) -> None:
        if not holds:
            found.append(text)

    bad = [one for one in drawn if one.made is None]
    claim(run.code == (1 if bad else 0), f"exit code {run.code}")
    claim(set(run.rows) == {one.name for one in drawn}, "rows are missing or invented")
    made = {path.name for path in target.iterdir()}
    expected = {one.target for one in drawn if one.made is not None}
    claim(made == expected, f"missing {expected - made}, invented {made - expected}")
    for one in drawn:
        row = run.rows.get(one.name, {})
        if one.made is None:
            lines = [line for line in run.said if line.startswith("deal: ") and one.name in line]
            claim(row.get("status") == "failed", f"{one.name}: {row.get('status')}")
            claim(one.cause in str(row.get("error")), f"{one.name}: {row.get('error')}")
            claim(lines == [f"deal: {row.get('error')}"], f"{one.name}: said {lines}")
            continue
        claim(row.get("status") == "restored", f"{one.name}: {row.get('error')}")
        told = (row.get("width"), row.get("height")), row.get("dtype"), row.get("frames")
        claim(told == (one.size, one.dtype, one.frames), f"{one.name}: told as {told}")
        claim(row.get("output") == str(target / one.target), f"{one.name}: {row.get('output')}")
        if one.target in made:
            found += [f"{one.target}: {text}" for text in _faults_of(one, target / one.target)]
    heads = [line for line in run.said if line.split()[:2] == ["kind", "files"]]
    claim(len(heads) == 1, f"{len(heads)} tables")
    last = [line.split()[:2] for line in run.said[-2 if bad else -1 :]]
    counts = [[str(len(expected)), "restored"], *([[str(len(bad)), "failed"]] if bad else [])]
    claim(last == counts, f"ends with {last}")
    sequences = [one for one in drawn if one.frames and run.rows.get(one.name, {}).get("frames")]
    notes = [run.rows[one.name] for one in sequences if run.rows[one.name]["fixed_pattern"]]
    for row in notes:
        note = f"deal: {row['input']}: {row['fixed_pattern']['reason']}"
        claim(run.said.count(note) == 1, f"not said once: {note}")
    named = sum(line.startswith("deal: ") for line in run.said)
    claim(named == 1 + len(bad) + len(notes), f"{named} lines begin with deal:")
    return found


def _faults_of(one: Drawn, path: Path) -> list[str]:
    """What is wrong with a file that was made, as other readers than deal's see it."""
    pages = _read(path)
    shapes, dtypes = {page.shape for page in pages}, {page.dtype.name for page in pages}
    found = []
    if len(pages) != (one.frames or 1) or shapes != {one.size[::-1]} or dtypes != {one.dtype}:
        found.append(f"holds {len(pages)} of {shapes} {dtypes}")
    if one.gaps is not None:
        seen = np.isnan(pages[0]) | (pages[0] == NODATA)
        if not np.array_equal(seen, one.gaps):
            found.append("its gaps are others")
    elif not all(page.std() > 0 for page in pages):
        found.append("is flat")
    return found


def _read(path: Path) -> list[np.ndarray]:
    if path.suffix in (".avi", ".mkv"):
        with av.open(str(path)) as video:
            return [frame.to_ndarray(format="gray") for frame in video.decode(video=0)]
    if path.suffix == ".tif":
        with tifffile.TiffFile(path) as tiff:
            return [page.asarray() for page in tiff.pages]
    import cv2

    return [cv2.imread(str(path), cv2.IMREAD_UNCHANGED)]


def _peak(pid: int) -> float:
    """Peak memory of a process in MiB; 0 where no /proc tells."""
    status = Path(f"/proc/{pid}/status")
    if not status.is_file():
        return 0.0
    lines = status.read_text(encoding="utf-8").splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def fly(
    folder: Path, files: int, size: tuple[int, int], bad: int, options: Sequence[str]
) -> tuple[list[Drawn], Run, list[str]]:
    """Draw a flight into a folder, restore it, and say what is wrong with the result."""
    source, target = folder / "flight", folder / "restored"
    source.mkdir()
    drawn = draw(files, size, bad)
    for one in drawn:
        (source / one.name).write_bytes(one.data)
    run = restore(source, target, options)
    return drawn, run, faults(drawn, target, run)


def main() -> None:
    """Print what the command said, the rate, the memory and the faults."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--bad", type=float, default=0.01, help="share of bad files")
    parser.add_argument("--size", default="320x240", help="WIDTHxHEIGHT")
    parser.add_argument("--weights", default="deal-fast")
    parser.add_argument("--backend", default="auto")
    given = parser.parse_args()
    width, height = map(int, given.size.split("x"))
    bad = max(1, round(given.bad * given.files))
    options = ("--weights", given.weights, "--backend", given.backend)
    with tempfile.TemporaryDirectory() as folder:
        drawn, run, found = fly(Path(folder), given.files, (width, height), bad, options)
    for line in run.said:
        print(line.replace(folder + "/", ""))
    frames = sum(one.frames or 1 for one in drawn if one.made)
    print(f"{len(drawn)} files, {frames} pictures, {bad} bad; exit code {run.code}")
    print(f"{frames / run.seconds:.1f} pictures a second with start-up, {run.seconds:.1f} s")
    print(f"peak memory {run.peak:.0f} MiB")
    print("\n".join(found) or "every file accounted for")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
