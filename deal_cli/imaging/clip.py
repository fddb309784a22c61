"""Files of many frames: what a video and a TIFF of many pages have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from deal_cli.imaging.frame import Frame


class Clip(Protocol):
    """A file of many frames, opened for reading.

    Attributes:
        count: how many frames there are, as far as the file tells beforehand; a hint.
    """

    count: int | None

    def frames(self) -> Iterator[Frame]:
        """Every frame from the first on; may be called again, for another pass.

        Raises:
            PictureError: the file is damaged or truncated, or a frame cannot be restored rightly.
        """
        ...


class ClipWriter(Protocol):
    """A file of many frames that is being written."""

    def add(self, frame: Frame) -> None:
        """Append one frame.

        Raises:
            OutputError: it cannot be written.
        """
        ...
