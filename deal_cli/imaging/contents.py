"""What a file is, from a glance at its first bytes: one picture, many frames, whose counts.

A glance decides where a file goes and under which suffix, before anything is decoded; so it is
cheap, and it never fails. Whatever is wrong with a file, its reading says.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deal_cli.imaging.formats import jpeg, tiff
from deal_cli.imaging.stack import is_stack
from deal_cli.imaging.video.reader import is_video


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        kind: "picture", one of any kind; "stack", a TIFF of many; or "video".
        maker: "FLIR" or "DJI" of a radiometric JPEG, whose counts are read; else None.
        tiff: whether it is a TIFF, which may hold the counts and calibration of such a file.
    """

    kind: Literal["picture", "stack", "video"] = "picture"
    maker: str | None = None
    tiff: bool = False


def picture_suffix(contents: Contents) -> str | None:
    """The suffix that a picture is written under; None where its own will do.

    No radiometric JPEG is written: it would have to hold two pictures that agree.
    """
    return ".tif" if contents.kind == "picture" and contents.maker else None


def glance(path: Path) -> Contents:
    """What a file holds; a picture of no maker where it cannot be told."""
    try:
        # A FIFO would keep us waiting.
        if not stat.S_ISREG(path.stat().st_mode):
            return Contents()
        with path.open("rb") as stream:
            head = stream.read(16)
            stream.seek(0)
            if head.startswith(jpeg.SIGNATURE):
                return Contents(maker=jpeg.maker_of(stream))
            if head.startswith(tiff.SIGNATURES):
                return Contents("stack" if is_stack(stream) else "picture", tiff=True)
    except (OSError, ValueError):
        return Contents()
    return Contents("video" if is_video(head) else "picture")
