"""Files of many frames become Clips here, and Clips become files, whatever container they have."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from deal_cli.errors import UsageError
from deal_cli.imaging.clip import Clip, ClipWriter
from deal_cli.imaging.contents import Contents
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.reading import AS_FOUND, ReadAs
from deal_cli.imaging.stack import create_stack, open_stack
from deal_cli.imaging.video.codecs import check_video_target, output_suffix
from deal_cli.imaging.video.reader import Video, open_video
from deal_cli.imaging.video.writer import create_video

STACK_SUFFIXES = (".tif", ".tiff")
#: The suffixes that many frames can be written to.
CLIP_SUFFIXES = (*STACK_SUFFIXES, ".mkv", ".avi", ".mp4", ".m4v", ".mov")


def open_clip(
    path: Path, contents: Contents, read_as: ReadAs = AS_FOUND
) -> AbstractContextManager[Clip]:
    """Open a file of many frames, as its content says.

    Raises:
        PictureError: see `open_stack` and `open_video`.
    """
    opened = open_stack if contents.kind == "stack" else open_video
    return opened(path, read_as)


def check_clip_target(path: Path, frame: Frame, *, codec: str | None, scale: int = 1) -> None:
    """Make sure that frames like this one can be written as a target's suffix and codec say.

    Args:
        path: the file.
        frame: one of them, in the dtype that is written.
        codec: of a video (see `create_video`).
        scale: by how much it will be enlarged.

    Raises:
        UsageError: they cannot.
    """
    check_clip_suffix(path, codec)
    if path.suffix.lower() not in STACK_SUFFIXES:
        size = frame.height * scale, frame.width * scale
        check_video_target(path, frame.dtype, codec, size)


def check_clip_suffix(path: Path, codec: str | None) -> None:
    """Make sure that a target's suffix can hold many frames, coded so, whatever they are.

    Raises:
        UsageError: it cannot.
    """
    suffix = path.suffix.lower()
    if suffix not in CLIP_SUFFIXES:
        raise UsageError(
            f"{suffix or 'a name without suffix'} cannot hold many frames",
            file=path,
            remedy=f"name it with one of {' '.join(CLIP_SUFFIXES)}",
        )
    if suffix not in STACK_SUFFIXES:
        check_video_target(path, np.dtype(np.uint8), codec)


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
    check_clip_suffix(path, codec)
    if path.suffix.lower() in STACK_SUFFIXES:
        return create_stack(path, compression=compression)
    return create_video(path, source.facts if isinstance(source, Video) else None, codec=codec)


def clip_suffix(path: Path, contents: Contents, codec: str | None) -> str:
    """The suffix that the restored copy of a clip gets.

    Raises:
        UsageError: no such codec.
    """
    return path.suffix if contents.kind == "stack" else output_suffix(path.suffix, codec)
