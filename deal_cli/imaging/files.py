"""Files become Frames here, and Frames become files, and nowhere else.

The kind of a file is found from its content, because real folders hold `.tiff` files that are PNG
inside; the kind that is written is the suffix's. A file is read whole or refused, and is written
whole or not at all.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from deal_cli.errors import OutputError, PictureError, UsageError
from deal_cli.imaging import grey
from deal_cli.imaging.formats import TRUNCATED_REMEDY, bmp, jpeg, npy, png, tiff
from deal_cli.imaging.frame import Frame

#: The suffixes of the pictures that can be read and written.
PICTURE_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".npy")

#: Pixels a picture may have before it is refused unread, 400 megapixels: a small file can declare
#: a size that no memory holds.
MAX_PIXELS = 400_000_000

_WRITERS = {
    ".png": png.write,
    ".tif": tiff.write,
    ".tiff": tiff.write,
    ".jpg": jpeg.write,
    ".jpeg": jpeg.write,
    ".bmp": bmp.write,
    ".npy": npy.write,
}

_READERS = (
    (png.SIGNATURE, png.read),
    *((signature, tiff.read) for signature in tiff.SIGNATURES),
    (jpeg.SIGNATURE, jpeg.read),
    (npy.SIGNATURE, npy.read),
    (bmp.SIGNATURE, bmp.read),
)

_HELD = {
    ".png": ("uint8", "uint16"),
    ".jpg": ("uint8",),
    ".jpeg": ("uint8",),
    ".bmp": ("uint8",),
}


def read_frame(path: Path, *, luminance: bool = False, max_pixels: int = MAX_PIXELS) -> Frame:
    """Read one picture of a single grey channel, or of equal channels.

    Args:
        path: a PNG, TIFF, JPEG, BMP or `.npy` file, whatever it is called.
        luminance: turn false colour into its Rec. 601 luma in place of refusing it.
        max_pixels: a larger picture is refused before memory is taken for it.

    Returns:
        Values `(H, W)` in the file's own numbers, its dtype and metadata. float64 passes through
        float32 (see `grey.to_values`).

    Raises:
        PictureError: missing, unreadable, empty, truncated, damaged, or of a kind that cannot be
            restored rightly.
    """
    try:
        with path.open("rb") as stream:
            return _decode(stream, path, luminance=luminance, max_pixels=max_pixels)
    except FileNotFoundError as error:
        raise PictureError("no such file", file=path, remedy="check the path") from error
    except IsADirectoryError as error:
        raise PictureError("is a folder, not a picture", file=path, remedy="name a file") from error
    except OSError as error:
        cause = f"cannot be read ({error.strerror or error})"
        raise PictureError(cause, file=path, remedy="check its permissions and disk") from error


def decode(
    data: bytes, name: Path | str, *, luminance: bool = False, max_pixels: int = MAX_PIXELS
) -> Frame:
    """Read one picture from the bytes of a file; `name` stands for it in errors.

    Otherwise like `read_frame`.
    """
    return _decode(io.BytesIO(data), name, luminance=luminance, max_pixels=max_pixels)


def write_frame(frame: Frame, path: Path) -> None:
    """Write a picture in the format of the path's suffix and in its own dtype.

    Lossless but for JPEG (quality 95). Integers are rounded half to even and clipped to their
    range. An existing file is replaced in one step.

    Raises:
        UsageError: a suffix that is unknown or that cannot hold the dtype (see `check_target`).
        OutputError: the file cannot be written; nothing is left behind.
    """
    check_target(frame, path)
    with written_whole(path) as stream:
        _encode(frame, path.suffix.lower(), stream)


def encode(frame: Frame, suffix: str) -> bytes:
    """The bytes that `write_frame` would write to a file with this suffix.

    Raises:
        UsageError: a suffix that is unknown or that cannot hold the dtype.
    """
    check_target(frame, suffix)
    stream = io.BytesIO()
    _encode(frame, suffix.lower(), stream)
    return stream.getvalue()


def check_target(frame: Frame, target: Path | str) -> None:
    """Make sure that a picture can be written as a target's suffix says, before any work on it.

    Args:
        frame: the picture.
        target: the path to write, or a suffix alone.

    Raises:
        UsageError: an unknown suffix, or one whose format cannot hold the frame's dtype.
    """
    suffix = (target.suffix if isinstance(target, Path) else target).lower()
    if suffix not in _WRITERS:
        raise UsageError(
            f"is not a kind of picture that deal writes ({suffix or 'no suffix'})",
            file=target,
            remedy=f"name it with one of {' '.join(PICTURE_SUFFIXES)}",
        )
    held = _HELD.get(suffix, grey.DTYPES)
    if frame.dtype.name not in held:
        better = "write to .png or .tif" if frame.dtype.name == "uint16" else "write to .tif"
        raise UsageError(
            f"{suffix} cannot hold {frame.dtype.name} pixels", file=target, remedy=better
        )


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A binary stream, readable and writable, that becomes `path` when its block ends well.

    Until then it is a hidden temporary file in the same folder; on any failure it is removed and
    whatever `path` was before stays.

    Raises:
        OutputError: the operating system refuses.
    """
    # Part of the name tells a user whose remains these are; all of it might be too long.
    temporary = path.parent / f".{path.stem[:32]}.deal-{secrets.token_hex(4)}.tmp"
    try:
        try:
            with temporary.open("x+b") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        cause = f"cannot be written ({error.strerror or error})"
        raise OutputError(
            cause, file=path, remedy="choose another output folder or make room in this one"
        ) from error


def _decode(stream: BinaryIO, name: Path | str, *, luminance: bool, max_pixels: int) -> Frame:
    head = stream.read(16)
    stream.seek(0)
    reader = next((read for signature, read in _READERS if head.startswith(signature)), None)
    try:
        if not head:
            raise PictureError("is empty", remedy=TRUNCATED_REMEDY)
        if reader is None:
            raise PictureError(
                "is not a picture that deal reads",
                remedy="give a PNG, TIFF, JPEG, BMP or .npy file",
            )
        pixels = reader(stream, max_pixels)
        values, dtype = grey.to_values(
            pixels.array, luminance=luminance, tolerance=pixels.tolerance
        )
    except PictureError as error:
        raise PictureError(error.cause, file=name, remedy=error.remedy) from error
    except MemoryError as error:
        raise PictureError(
            "does not fit into memory", file=name, remedy="cut it into smaller pictures"
        ) from error
    except Exception as error:
        # Decoders meet damage with exceptions of every kind; all mean that the file is damaged.
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        cause = f"is damaged or truncated ({reason})"
        raise PictureError(cause, file=name, remedy=TRUNCATED_REMEDY) from error
    metadata = pixels.metadata
    profile = metadata.icc_profile
    if pixels.array.ndim == 3 and profile is not None and profile[16:20] != b"GRAY":
        # A profile for colours says nothing about the grey picture that is written.
        metadata = replace(metadata, icc_profile=None)
    return Frame(values, dtype, metadata)


def _encode(frame: Frame, suffix: str, stream: BinaryIO) -> None:
    _WRITERS[suffix](grey.to_dtype(frame.values, frame.dtype), frame.metadata, stream)
