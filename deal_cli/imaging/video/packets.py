"""The packets and decoded frames of a video, each of them whole; what is not stops the reading.

FFmpeg's demuxers and decoders say little of what they pass over. What they do say is listened to
here, and what they do not say is checked: FFV1's checksums, the index, the stated duration.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from deal_cli.errors import PictureError
from deal_cli.imaging.formats import TRUNCATED_REMEDY
from deal_cli.imaging.reading import reason_of, too_large, unreadable
from deal_cli.imaging.video import ffv1
from deal_cli.imaging.video.containers import Container, raw_counts_size

if TYPE_CHECKING:
    from av import Packet, VideoCodecContext, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

#: What mends the want of PyAV.
INSTALL_REMEDY = "install it with `pip install 'deal-cli[video]'`"

#: How much shorter than it says a Matroska file may end: in frames, and in seconds at least.
_SPARE_FRAMES, _SPARE_SECONDS = 2, 0.05


class DamageError(Exception):
    """Why a video ends before its time; its reader adds how many frames were whole."""


@contextlib.contextmanager
def demuxer(
    path: Path, kind: Container, max_pixels: int, *, probe: bool = True
) -> Iterator[InputContainer]:
    """A container opened through our own stream: its name is never taken for an address.

    Args:
        path: the file.
        kind: its container.
        max_pixels: larger frames are not decoded to learn of them.
        probe: whether to decode a frame to learn what the container does not say.

    Raises:
        PictureError: PyAV is not installed, or it cannot make anything of the file.
        DamageError: whatever else PyAV raises while the block lasts.
    """
    try:
        import av
    except ImportError as error:
        raise PictureError("needs PyAV to be read", file=path, remedy=INSTALL_REMEDY) from error
    opened = False
    # Probing decodes a frame or two; it must keep to the limit as well.
    limit = {"max_pixels": str(max_pixels)} if probe else {"codec_whitelist": "none"}
    try:
        with (
            path.open("rb") as stream,
            av.open(
                stream, "r", format=kind, options=limit, metadata_errors="surrogateescape"
            ) as container,
        ):
            opened = True
            yield container
    except (PictureError, DamageError):
        raise
    except MemoryError as error:
        raise too_large(path) from error
    except Exception as error:
        if opened:
            raise DamageError(reason_of(error)) from error
        if isinstance(error, OSError) and not isinstance(error, av.FFmpegError):
            raise unreadable(path, error) from error
        cause = f"is damaged or truncated ({reason_of(error)})"
        raise PictureError(cause, file=path, remedy=TRUNCATED_REMEDY) from error


def stream_of(container: InputContainer) -> VideoStream:
    """The first video stream that is no cover picture."""
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise PictureError("holds no video stream", remedy="give a file with pictures in it")


def decoder_of(stream: VideoStream, path: Path, kind: Container) -> VideoCodecContext:
    """What decodes a stream; bare counts in an AVI have one of our making.

    Raises:
        PictureError: nothing does.
    """
    import av

    # Typed as always there, and None where FFmpeg knows no decoder.
    decoder: VideoCodecContext | None = stream.codec_context
    if decoder is not None:
        return decoder
    with path.open("rb") as file:
        size = raw_counts_size(file) if kind == "avi" else None
    if size is None:
        raise PictureError(
            "is compressed in a way that PyAV does not read",
            file=path,
            remedy="convert it with ffmpeg -c:v ffv1",
        )
    decoder = av.CodecContext.create("rawvideo", "r")
    decoder.height, decoder.width = size
    decoder.pix_fmt = "gray16le"
    return decoder


def decoded(
    container: InputContainer,
    stream: VideoStream,
    decoder: VideoCodecContext,
    kind: Container,
    max_pixels: int,
) -> Iterator[VideoFrame]:
    """Every frame that the decoder vouches for, up to the end that the container states.

    Raises:
        DamageError: one that it does not, or an early end; PyAV raises more.
    """
    decoder.options = {"err_detect": "explode+crccheck", "max_pixels": str(max_pixels)}
    decoder.thread_type = "AUTO"
    for packet in packets(container, stream, kind):
        for frame in decoder.decode(packet):
            if frame.is_corrupt:
                raise DamageError("a frame is damaged")
            yield frame


def packets(
    container: InputContainer, stream: VideoStream, kind: Container
) -> Iterator[Packet[VideoStream]]:
    """Every packet of a stream, each whole, up to the end that the container states.

    Raises:
        DamageError: a packet is cut, its checksum is wrong, or packets are missing.
    """
    # Version 3 of FFV1 is the first with a header of its own, and with checksums.
    decoder: VideoCodecContext | None = stream.codec_context
    checked = decoder is not None and decoder.name == "ffv1" and bool(decoder.extradata)
    indexed = _indexed(stream)
    came, end = 0, Fraction(0)
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise DamageError("a frame is cut short")
        if packet.size:
            came += 1
            if checked and not ffv1.is_whole(bytes(packet)):
                raise DamageError("a checksum is wrong")
            if packet.pts is not None:
                end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
        yield packet
    # Where the index is read with the frames, there is more of it now.
    expected = max(indexed, _indexed(stream))
    if kind == "avi" and not indexed:
        expected = max(expected, stream.frames)
    if came < expected:
        raise DamageError(f"the container says {expected}")
    if kind == "matroska" and len(container.streams) == 1 and container.duration:
        stated = Fraction(container.duration, 1_000_000)
        frame = 1 / stream.average_rate if stream.average_rate else 0
        if stated - end > max(_SPARE_FRAMES * frame, _SPARE_SECONDS):
            raise DamageError(f"the container says {float(stated):.3f} s")


def _indexed(stream: VideoStream) -> int:
    """How many frames the container's index has so far; empty ones were never recorded."""
    return sum(1 for entry in stream.index_entries if entry.size > 0)
