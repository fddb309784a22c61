"""Small videos, made with PyAV itself and not with what is under test."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from deal_cli.imaging.frame import Frame
from deal_cli.imaging.reading import ReadAs
from deal_cli.imaging.video.reader import open_video

#: FFV1 as recorders write it: intra frames, slices with checksums.
FFV1 = {"level": "3", "g": "1", "slices": "4", "slicecrc": "1"}
LIMITED, FULL = 1, 2


def scene(index: int, dtype: str = "uint8", height: int = 48, width: int = 64) -> np.ndarray:
    """A moving picture with a little noise, that uses most of the dtype's range."""
    rng = np.random.default_rng(index)
    y, x = np.mgrid[:height, :width]
    grey = 120 + 80 * np.sin((x + 3 * index) / 9) + 30 * np.cos(y / 7)
    grey += rng.normal(0, 2, grey.shape)
    scale = 1 if dtype == "uint8" else 250
    return np.rint(grey.clip(0, 255) * scale).astype(dtype)


def picture(
    planes: Sequence[np.ndarray], pixel_format: str, height: int, width: int
) -> av.VideoFrame:
    """A frame of these planes, the bytes of each as FFmpeg stores them."""
    frame = av.VideoFrame(width, height, pixel_format)
    for plane, array in zip(frame.planes, planes, strict=True):
        stored = np.ascontiguousarray(array)
        if not plane.line_size:  # a palette
            np.frombuffer(memoryview(plane), stored.dtype)[:] = stored.ravel()
            continue
        row = stored.view(np.uint8).reshape(stored.shape[0], -1)
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        rows[: len(row), : row.shape[1]] = row
    return frame


def encoded(
    frames: Sequence[Sequence[np.ndarray]],
    *,
    container: str = "matroska",
    codec: str = "ffv1",
    pixel_format: str = "gray",
    options: dict[str, str] | None = None,
    colour_range: int = 0,
    times: Sequence[int] | None = None,
    base: Fraction = Fraction(1, 25),
    rate: Fraction = Fraction(25),
    size: tuple[int, int] | None = None,
) -> bytes:
    """The bytes of a video; a frame is its planes, and `times` count in `base`."""
    stream = io.BytesIO()
    height, width = size or frames[0][0].shape[:2]
    with av.open(stream, "w", format=container) as out:
        video: Any = out.add_stream(codec, rate=rate)
        video.width, video.height, video.pix_fmt = width, height, pixel_format
        video.codec_context.color_range = colour_range
        video.codec_context.time_base = base
        video.codec_context.options = dict(
            FFV1 if options is None and codec == "ffv1" else options or {}
        )
        for index, planes in enumerate(frames):
            frame = picture(planes, pixel_format, height, width)
            frame.color_range = colour_range
            frame.time_base = base
            frame.pts = times[index] if times else index
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    return stream.getvalue()


def neutral(luma: np.ndarray, chroma: int = 128) -> list[np.ndarray]:
    """The planes of yuv420p of a grey picture."""
    half = np.full((luma.shape[0] // 2, luma.shape[1] // 2), chroma, luma.dtype)
    return [luma, half, half]


def frames_of(path: Path, **options: Any) -> list[Frame]:
    """Every frame of a video."""
    with open_video(path, ReadAs(**options)) as video:
        return list(video.frames())
