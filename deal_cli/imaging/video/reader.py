"""Videos are read here: every frame whole, in its own numbers, at its own moment, or not at all.

PyAV brings FFmpeg's decoders, which were made for watching: what is damaged they conceal, what is
missing they pass over. Here a frame that is not what the recorder wrote stops the clip with a
reason. PyAV is an extra (`docs/decisions/0009-video-through-pyav.md`); it is imported on use.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deal_cli.errors import PictureError
from deal_cli.imaging.absent import find_absent
from deal_cli.imaging.formats import TRUNCATED_REMEDY, check_size
from deal_cli.imaging.frame import Frame, Metadata
from deal_cli.imaging.reading import AS_FOUND, ReadAs, named
from deal_cli.imaging.video.containers import Container, container_of, ends_early
from deal_cli.imaging.video.h264 import is_monochrome
from deal_cli.imaging.video.packets import (
    DamageError,
    decoded,
    decoder_of,
    demuxer,
    packets,
    stream_of,
)
from deal_cli.imaging.video.pixels import layout_of, picture_of

if TYPE_CHECKING:
    from av import VideoCodecContext, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

#: The suffixes of the videos that are read; what a file is, its content says.
VIDEO_SUFFIXES = (".avi", ".mkv", ".mp4", ".mov", ".m4v", ".webm")

#: Tags that speak of the file they were in, not of what was recorded.
_OWN_TAGS = frozenset(
    {"encoder", "software", "major_brand", "minor_version", "compatible_brands", "duration"}
)


@dataclass(frozen=True)
class VideoFacts:
    """What is known of a video beside its pixels.

    Attributes:
        width: pixels in a row, as the container says.
        height: rows.
        dtype: uint8 or uint16.
        pixel_format: FFmpeg's name for how pixels are stored, such as `gray16le`.
        codec: FFmpeg's name for how they are compressed, such as `ffv1`.
        count: frames, as far as the container says; a hint.
        rate: frames a second on the average; None where nobody knows.
        time_base: every moment is a whole number of these, in seconds; None where it is free.
        aspect: a pixel's width by its height; None where the file does not say.
        full: whether luma has all levels where the frames do not say.
        rotation: degrees counterclockwise that a viewer turns the frames by; they are never turned.
        tags: what the container says of the recording: title, creation time, place and the like.
    """

    width: int
    height: int
    dtype: np.dtype[Any]
    pixel_format: str = ""
    codec: str = ""
    count: int | None = None
    rate: Fraction | None = None
    time_base: Fraction | None = None
    aspect: Fraction | None = None
    full: bool = False
    rotation: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)


class Video:
    """A video opened for reading; see `open_video`. It is a `Clip`."""

    def __init__(self, path: Path, kind: Container, facts: VideoFacts, read_as: ReadAs) -> None:
        self.path = path
        self.facts = facts
        self.count = facts.count
        self._kind = kind
        self._read_as = read_as
        self._passes = contextlib.ExitStack()

    def frames(self) -> Iterator[Frame]:
        """Every frame from the first on, in the order shown; may be called again.

        Values float32 `(H, W)` and dtype as `video_pixels.picture_of` gives them, and the moment
        the frame is shown as an exact number of seconds, None where the file has none.

        Raises:
            PictureError: the video is damaged or holds no frames, or a frame is in false colour
                or of another size than the first.
        """
        frames = self._pass()
        self._passes.callback(frames.close)
        return frames

    def close(self) -> None:
        """End every pass that is still open."""
        self._passes.close()

    def _pass(self) -> Generator[Frame, None, None]:
        whole = 0
        first: Frame | None = None
        try:
            with demuxer(self.path, self._kind, self._read_as.max_pixels) as container:
                stream = stream_of(container)
                decoder = decoder_of(stream, self.path, self._kind)
                most = self._read_as.max_pixels
                for picture in decoded(container, stream, decoder, self._kind, most):
                    frame = self._frame(picture, whole + 1, first)
                    first = first or frame
                    yield frame
                    whole += 1
                if not whole:
                    raise PictureError("holds no frames", file=self.path, remedy=TRUNCATED_REMEDY)
        except DamageError as error:
            raise _damaged(self.path, str(error), whole) from error

    def _frame(self, decoded: VideoFrame, number: int, first: Frame | None) -> Frame:
        try:
            check_size(decoded.width, decoded.height, self._read_as.max_pixels)
            if first and (first.height, first.width) != (decoded.height, decoded.width):
                raise PictureError(
                    f"is {decoded.width}x{decoded.height}, those before it "
                    f"{first.width}x{first.height}",
                    remedy="cut the video there, and restore each part",
                )
            values, dtype = picture_of(
                decoded, luminance=self._read_as.luminance, full=self.facts.full
            )
            if first and dtype != first.dtype:
                raise PictureError(
                    f"is {dtype.name}, those before it {first.dtype.name}",
                    remedy="cut the video there, and restore each part",
                )
        except PictureError as error:
            cause = error.cause if number == 1 else f"frame {number} {error.cause}"
            raise PictureError(cause, file=self.path, remedy=error.remedy) from error
        base = decoded.time_base
        moment = None if decoded.pts is None or base is None else decoded.pts * base
        nodata = self._read_as.nodata
        declared = nodata if isinstance(nodata, float) else None
        absent = find_absent(values, dtype, None) if nodata == "auto" else None
        return Frame(values, dtype, Metadata(moment=moment, nodata=declared), absent=absent)


def is_video(head: bytes) -> bool:
    """Whether a file that begins with these 16 bytes is a video that deal reads."""
    return container_of(head) is not None


@contextlib.contextmanager
def open_video(path: Path, read_as: ReadAs = AS_FOUND) -> Iterator[Video]:
    """Open a video to read its frames, once or several times.

    Args:
        path: an AVI, Matroska (WebM), MP4 or MOV file, whatever it is called.
        read_as: what to take its numbers for.

    Raises:
        PictureError: PyAV is not installed; or missing, no file, no video, cut off, without a
            video stream, or of pixels or a compression that is not read.
    """
    kind, early = _look(path)
    max_pixels = read_as.max_pixels
    try:
        with demuxer(path, kind, max_pixels) as container:
            stream = stream_of(container)
            decoder = decoder_of(stream, path, kind)
            if not decoder.width:
                _refuse_if_large(path, kind, max_pixels)
            facts = _facts(container, stream, decoder, max_pixels)
    except PictureError as error:
        raise PictureError(error.cause, file=path, remedy=error.remedy) from error
    except DamageError as error:
        raise _damaged(path, str(error), 0) from error
    if early:
        _refuse_if_short(path, kind, max_pixels)
    video = Video(path, kind, facts, read_as)
    try:
        yield video
    finally:
        video.close()


def _look(path: Path) -> tuple[Container, bool]:
    """A file's container and whether it is shorter than it says."""
    with named(path):
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise PictureError("is a folder, not a video", file=path, remedy="name a file")
        if not stat.S_ISREG(mode):
            raise PictureError("is not a file", file=path, remedy="name a video file")
        with path.open("rb") as stream:
            kind = container_of(stream.read(16))
            if kind is None:
                raise PictureError(
                    "is not a video that deal reads",
                    file=path,
                    remedy="give an AVI, MKV, MP4 or MOV file, or put it into one with ffmpeg",
                )
            return kind, ends_early(stream, kind)


def _refuse_if_large(path: Path, kind: Container, max_pixels: int) -> None:
    """Find the size that the decoder refused, in what the container says alone.

    Raises:
        PictureError: it is too large.
    """
    with demuxer(path, kind, max_pixels, probe=False) as container:
        decoder = decoder_of(stream_of(container), path, kind)
        if decoder.width:
            check_size(decoder.width, decoder.height, max_pixels)


def _facts(
    container: InputContainer, stream: VideoStream, decoder: VideoCodecContext, max_pixels: int
) -> VideoFacts:
    check_size(decoder.width, decoder.height, max_pixels)
    if decoder.pix_fmt is None:
        raise PictureError("is damaged: its first frame cannot be read", remedy=TRUNCATED_REMEDY)
    rate = stream.average_rate or stream.guessed_rate
    count = stream.frames
    if not count and rate and container.duration:
        count = round(container.duration * rate / 1_000_000)
    tags = {
        name: value for name, value in container.metadata.items() if name.lower() not in _OWN_TAGS
    }
    return VideoFacts(
        decoder.width,
        decoder.height,
        layout_of(decoder.pix_fmt).dtype,
        decoder.pix_fmt,
        decoder.name,
        count or None,
        rate or None,
        stream.time_base,
        stream.sample_aspect_ratio or None,
        decoder.name == "h264" and is_monochrome(decoder.extradata),
        _rotation(container, stream) if stream.codec_context else 0,
        tags,
    )


def _rotation(container: InputContainer, stream: VideoStream) -> int:
    """The rotation that the first frame carries; damage is for those to report who read it."""
    with contextlib.suppress(Exception):
        return int(next(container.decode(stream)).rotation)
    return 0


def _refuse_if_short(path: Path, kind: Container, max_pixels: int) -> None:
    """Refuse a file that is shorter than it says, unless only what follows its frames is missing.

    Raises:
        PictureError: frames are missing, or nobody knows how many there were.
    """
    whole = 0
    try:
        with demuxer(path, kind, max_pixels) as container:
            stream = stream_of(container)
            stated = stream.frames
            for packet in packets(container, stream, kind):
                whole += packet.size > 0
    except DamageError as error:
        raise _damaged(path, str(error), whole, "truncated") from error
    if whole < stated or not stated:
        said = f"the container says {stated}" if stated else "the rest is missing"
        raise _damaged(path, said, whole, "truncated")


def _damaged(path: Path, reason: str, whole: int, what: str = "damaged") -> PictureError:
    remedy = TRUNCATED_REMEDY
    if whole:
        remedy += f", or keep its beginning with ffmpeg -i FILE -frames:v {whole} -c copy PART.mkv"
    noun = "frame" if whole == 1 else "frames"
    return PictureError(
        f"is {what} after {whole} whole {noun} ({reason})", file=path, remedy=remedy
    )
