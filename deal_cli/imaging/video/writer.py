"""Restored frames become a video here, whole or not at all, each at the moment it had before."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from deal_cli.errors import OutputError
from deal_cli.imaging import grey
from deal_cli.imaging.clip import ClipWriter
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.video.codecs import (
    CODECS,
    CONTAINERS,
    check_video_target,
    codec_of,
    output_suffix,
)
from deal_cli.imaging.video.matroska import set_pixel_aspect
from deal_cli.imaging.video.packets import INSTALL_REMEDY
from deal_cli.imaging.video.pixels import FULL_RANGE
from deal_cli.imaging.video.reader import VideoFacts
from deal_cli.imaging.whole import written_whole

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import OutputContainer
    from av.video.stream import VideoStream

__all__ = ["CODECS", "check_video_target", "create_video", "output_suffix"]

#: FFV1 cuts no smaller pictures into slices.
_SLICED = 16

#: Frames a second where neither the frames nor their source say.
_DEFAULT_RATE = Fraction(25)


@contextlib.contextmanager
def create_video(
    path: Path, facts: VideoFacts | None = None, *, codec: str | None = None
) -> Iterator[ClipWriter]:
    """Write a video that appears when the block ends well, and not at all otherwise.

    The first frame that is added decides on the size and the dtype. Integers are rounded half to
    even and clipped to their range. Each frame is shown at its moment, as exactly as the
    container keeps time (Matroska: to the millisecond; AVI: to the frame, the first at zero); a
    frame without one follows the one before by the time of a frame.

    Args:
        path: the file, whose suffix names the container.
        facts: what is known of the source: its rate, time base, aspect and tags are kept.
        codec: a name of `CODECS`; None for lossless FFV1.

    Raises:
        UsageError: as `check_video_target`.
        OutputError: PyAV is not installed, no frame was added, or the file cannot be written.
    """
    dtype = facts.dtype if facts else np.dtype(np.uint8)
    check_video_target(path, dtype, codec)
    try:
        import av
    except ImportError as error:
        raise OutputError("needs PyAV to be written", file=path, remedy=INSTALL_REMEDY) from error
    with written_whole(path) as stream:
        writer = _Writer(path, stream, facts, codec)
        try:
            yield writer
            writer.finish()
        except av.FFmpegError as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise OutputError(
                f"cannot be encoded ({error.strerror})",
                file=path,
                remedy="give --codec ffv1 and write to .mkv",
            ) from error
        finally:
            writer.abandon()


class _Writer:
    """A video being written; see `create_video`."""

    def __init__(
        self, path: Path, stream: BinaryIO, facts: VideoFacts | None, codec: str | None
    ) -> None:
        self._path = path
        self._file = stream
        self._facts = facts
        self._name = codec
        self._codec = codec_of(codec)
        self._rate = (facts and facts.rate) or _DEFAULT_RATE
        self._base = self._time_base()
        self._first: Frame | None = None
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._latest: int | None = None
        self._start: Fraction | None = None

    def add(self, frame: Frame) -> None:
        """Append one frame.

        Raises:
            UsageError: the codec cannot hold its dtype or size.
            OutputError: it differs from the first in size or dtype.
        """
        if self._first is None:
            size = frame.height, frame.width
            check_video_target(self._path, frame.dtype, self._name, size)
            self._container, self._stream = self._open(frame)
            self._first = frame
        first = self._first
        if (frame.values.shape, frame.dtype) != (first.values.shape, first.dtype):
            raise OutputError(
                f"a frame is {frame.width}x{frame.height} {frame.dtype.name}, the first "
                f"{first.width}x{first.height} {first.dtype.name}",
                file=self._path,
                remedy="write them to videos of their own",
            )
        assert self._container is not None
        assert self._stream is not None
        self._container.mux(self._stream.encode(self._picture(frame)))

    def finish(self) -> None:
        """Write what the encoder still holds and the container's end.

        Raises:
            OutputError: there was no frame.
        """
        if self._container is None or self._stream is None:
            raise OutputError("has no frames", file=self._path, remedy="check its source")
        self._container.mux(self._stream.encode(None))
        container, self._container = self._container, None
        container.close()
        aspect = self._facts.aspect if self._facts else None
        if aspect is not None and self._path.suffix.lower() == ".mkv":
            assert self._first is not None
            set_pixel_aspect(self._file, aspect, self._first.width, self._first.height)

    def abandon(self) -> None:
        """Let go of everything; whatever was written is about to be removed."""
        if self._container is not None:
            with contextlib.suppress(Exception):
                self._container.close()
            self._container = None

    def _open(self, first: Frame) -> tuple[OutputContainer, VideoStream]:
        import av

        container = av.open(
            self._file,
            "w",
            format=CONTAINERS[self._path.suffix.lower()],
            metadata_errors="surrogateescape",
        )
        try:
            added = container.add_stream(self._codec.encoder, rate=self._rate)
        except ValueError as error:
            raise OutputError(
                f"cannot be encoded: this PyAV has no {self._codec.encoder}",
                file=self._path,
                remedy="give --codec ffv1 and write to .mkv, or install PyAV's own wheel",
            ) from error
        stream = cast("VideoStream", added)
        encoder = stream.codec_context
        encoder.width, encoder.height = first.width, first.height
        encoder.pix_fmt = self._codec.pixels[first.dtype.name]
        encoder.color_range = FULL_RANGE
        encoder.time_base = self._base
        encoder.options = dict(self._codec.options)
        if "slices" in encoder.options and min(first.width, first.height) < _SLICED:
            encoder.options["slices"] = "1"
        encoder.thread_type = "AUTO"
        if self._codec.encoder == "libx265" and self._path.suffix.lower() != ".mkv":
            encoder.codec_tag = "hvc1"  # the one of two names that Apple's players take
        if self._facts:
            container.metadata.update(self._facts.tags)
            encoder.sample_aspect_ratio = self._facts.aspect or Fraction(0, 1)
            if self._facts.rotation:
                stream.set_display_rotation(self._facts.rotation)
        return container, stream

    def _time_base(self) -> Fraction:
        """What moments are counted in, in seconds: the source's own where the container can."""
        base = self._facts.time_base if self._facts else None
        if self._path.suffix.lower() == ".avi":
            # An AVI counts frames, so each lies on a whole one.
            return 1 / self._rate
        if base is None:
            # Whole frames lie on it exactly, and anything else to the millisecond.
            return Fraction(1, self._rate.numerator * max(1, 1000 // self._rate.numerator))
        return base

    def _picture(self, frame: Frame) -> VideoFrame:
        import av

        name = self._codec.pixels[frame.dtype.name]
        picture = av.VideoFrame(frame.width, frame.height, name)
        pixels = grey.to_dtype(frame.values, frame.dtype)
        stored = pixels.astype("<u2", copy=False) if pixels.dtype.itemsize == 2 else pixels
        row = stored.view(np.uint8)
        luma, *chroma = picture.planes
        rows = np.frombuffer(memoryview(luma), np.uint8).reshape(-1, luma.line_size)
        rows[: frame.height, : row.shape[1]] = row
        for plane in chroma:
            np.frombuffer(memoryview(plane), np.uint8)[:] = 128
        picture.color_range = FULL_RANGE
        picture.time_base = self._base
        picture.pts = self._next(frame.metadata.moment)
        picture.duration = max(1, round(1 / self._rate / self._base))
        return picture

    def _next(self, moment: Fraction | None) -> int:
        """A frame's time in the time base; later than that of the frame before."""
        if moment is not None:
            if self._start is None:
                # The first frame of an AVI is at zero, whatever it is told.
                self._start = moment if self._path.suffix.lower() == ".avi" else Fraction(0)
            time = round((moment - self._start) / self._base)
        elif self._latest is None:
            time = 0
        else:
            time = self._latest + max(1, round(1 / self._rate / self._base))
        if self._latest is not None:
            time = max(time, self._latest + 1)
        self._latest = time
        return time
