"""Files of many frames become Clips here, and Clips become files, whatever container they have."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from deal_cli.config import MAX_PIXELS
from deal_cli.errors import UsageError
from deal_cli.imaging.clip import Clip, ClipWriter
from deal_cli.imaging.contents import Contents
from deal_cli.imaging.stack import create_stack, open_stack
from deal_cli.imaging.video import VIDEO_SUFFIXES, Video, open_video
from deal_cli.imaging.video_writer import create_video, output_suffix

STACK_SUFFIXES = (".tif", ".tiff")
#: The suffixes that many frames can be written to.
CLIP_SUFFIXES = (*STACK_SUFFIXES, ".mkv", ".avi", ".mp4", ".m4v", ".mov")


def open_clip(
    path: Path, contents: Contents, *, luminance: bool = False, max_pixels: int = MAX_PIXELS
) -> AbstractContextManager[Clip]:
    """Open a file of many frames, as its content says.

    Raises:
        PictureError: see `open_stack` and `open_video`.
    """
    opened = open_stack if contents.kind == "stack" else open_video
    return opened(path, luminance=luminance, max_pixels=max_pixels)


def create_clip(
    path: Path, source: Clip, *, codec: str | None = None, compression: str = "deflate"
) -> AbstractContextManager[ClipWriter]:
    """Write a file of many frames, as its suffix says; it appears whole or not at all.

    Args:
        path: the file.
        source: the clip that the frames come from, whose rate and the like are kept.
        codec: of a video (see `create_video`).
        compression: of a TIFF (see `create_stack`).

    Raises:
        UsageError: the suffix cannot hold many frames, or the codec not these.
        OutputError: it cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix in STACK_SUFFIXES:
        return create_stack(path, compression=compression)
    if suffix not in CLIP_SUFFIXES:
        raise UsageError(
            f"{suffix or 'a name without suffix'} cannot hold many frames",
            file=path,
            remedy=f"name it with one of {' '.join(CLIP_SUFFIXES)}",
        )
    return create_video(path, source.facts if isinstance(source, Video) else None, codec=codec)


def clip_suffix(path: Path, contents: Contents, codec: str | None) -> str:
    """The suffix that the restored copy of a clip gets.

    Raises:
        UsageError: no such codec.
    """
    return path.suffix if contents.kind == "stack" else output_suffix(path.suffix, codec)


__all__ = [
    "CLIP_SUFFIXES",
    "STACK_SUFFIXES",
    "VIDEO_SUFFIXES",
    "clip_suffix",
    "create_clip",
    "open_clip",
]
