"""Which codecs are offered for a restored video, and which containers and pixels they take.

Lossless FFV1 is the default: an open standard, eight bits or sixteen, every frame on its own and
checked by a checksum. Whoever asks for a lossy codec gets it at a high quality.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deal_cli.errors import UsageError

#: FFmpeg's name for the container that each suffix asks for.
CONTAINERS = {
    ".mkv": "matroska",
    ".avi": "avi",
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
}


@dataclass(frozen=True)
class Codec:
    """A codec that is offered, and how it is made to keep as much as it can.

    Attributes:
        encoder: FFmpeg's name for it.
        suffixes: of the containers that hold it.
        pixels: for each dtype, the pixel format it is stored in.
        options: of the encoder.
        even: whether width and height must be even.
    """

    encoder: str
    suffixes: tuple[str, ...]
    pixels: Mapping[str, str]
    options: Mapping[str, str] = field(default_factory=dict)
    even: bool = False


_LOSSLESS = {"uint8": "gray", "uint16": "gray16le"}

#: What `--codec` takes. The first is the default.
CODECS = {
    "ffv1": Codec(
        "ffv1",
        (".mkv", ".avi"),
        _LOSSLESS,
        {"level": "3", "g": "1", "slicecrc": "1", "slices": "4"},
    ),
    # FFmpeg writes 16-bit grey without compression in a way that nobody, not even it, reads back.
    "rawvideo": Codec("rawvideo", (".avi", ".mkv"), {"uint8": "gray"}),
    "h264": Codec(
        "libx264", (".mp4", ".m4v", ".mov", ".mkv"), {"uint8": "yuv420p"}, {"crf": "4"}, even=True
    ),
    "hevc": Codec(
        "libx265",
        (".mp4", ".m4v", ".mov", ".mkv"),
        {"uint8": "yuv420p"},
        {"crf": "4", "x265-params": "log-level=none"},
        even=True,
    ),
    "mjpeg": Codec(
        "mjpeg", (".avi", ".mkv", ".mov"), {"uint8": "yuvj420p"}, {"qmin": "1", "qmax": "1"}
    ),
}

DEFAULT_CODEC = "ffv1"


def output_suffix(source_suffix: str, codec: str | None = None) -> str:
    """The suffix that a restored video gets: its source's, where the codec can live there.

    Args:
        source_suffix: such as `.mp4`, in any case.
        codec: a name of `CODECS`; None for lossless FFV1.

    Raises:
        UsageError: an unknown codec.
    """
    suffixes = codec_of(codec).suffixes
    suffix = source_suffix.lower()
    return suffix if suffix in suffixes else ".mkv"


def check_video_target(
    path: Path, dtype: np.dtype[Any], codec: str | None = None, size: tuple[int, int] | None = None
) -> None:
    """Make sure that a video can be written as its suffix and codec say, before any work on it.

    Args:
        path: the file to write.
        dtype: of its frames.
        codec: a name of `CODECS`; None for lossless FFV1.
        size: height and width of its frames, where they are known.

    Raises:
        UsageError: an unknown suffix or codec, or a codec that cannot live in the container or
            hold the dtype or the size.
    """
    suffix = path.suffix.lower()
    if suffix not in CONTAINERS:
        raise UsageError(
            f"is not a kind of video that deal writes ({suffix or 'no suffix'})",
            file=path,
            remedy=f"name it with one of {' '.join(CONTAINERS)}",
        )
    name = codec or DEFAULT_CODEC
    chosen = codec_of(codec)
    if suffix not in chosen.suffixes:
        fitting = [k for k, v in CODECS.items() if suffix in v.suffixes and dtype.name in v.pixels]
        lossy = f", or give --codec {fitting[0]}, which is lossy" if fitting else ""
        raise UsageError(
            f"{suffix} cannot hold {name}",
            file=path,
            remedy=f"write to {chosen.suffixes[0]}{lossy}",
        )
    if dtype.name not in chosen.pixels:
        lossless = dtype.name in _LOSSLESS
        raise UsageError(
            f"{name} cannot hold {dtype.name} pixels",
            file=path,
            remedy="give --codec ffv1 and write to .mkv" if lossless else "write each to .tif",
        )
    if chosen.even and size and (size[0] % 2 or size[1] % 2):
        raise UsageError(
            f"{name} cannot hold an odd size ({size[1]}x{size[0]})",
            file=path,
            remedy="give --codec ffv1 and write to .mkv",
        )


def codec_of(name: str | None) -> Codec:
    """A codec by its name; None for the default.

    Raises:
        UsageError: there is none of this name.
    """
    try:
        return CODECS[name or DEFAULT_CODEC]
    except KeyError as error:
        raise UsageError(
            f"there is no codec {name!r}", remedy=f"give --codec one of {' '.join(CODECS)}"
        ) from error
