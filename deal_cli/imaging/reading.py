"""What a decoder gives becomes a Frame here, and what it raises an error that names the file.

Pictures, pages and videos are read by decoders of many kinds, and whoever reads one wants the same
grey picture and the same few errors of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from errno import EINVAL
from pathlib import Path

from deal_cli.errors import PictureError
from deal_cli.imaging import grey
from deal_cli.imaging.formats import TRUNCATED_REMEDY, Pixels
from deal_cli.imaging.formats.directory import OutsideFileError
from deal_cli.imaging.frame import Frame

#: Characters of a decoder's complaint that are passed on.
LONGEST_REASON = 100


def frame_of(pixels: Pixels, *, luminance: bool = False) -> Frame:
    """One grey picture from what a file or a page holds.

    Args:
        pixels: its pixels and what it says beside them.
        luminance: turn false colour into its Rec. 601 luma in place of refusing it.

    Raises:
        PictureError: see `grey.to_values`.
    """
    metadata = pixels.metadata
    values, dtype = grey.to_values(
        pixels.array, luminance=luminance, tolerance=pixels.tolerance, nodata=metadata.nodata
    )
    profile = metadata.icc_profile
    if pixels.array.ndim == 3 and profile is not None and profile[16:20] != b"GRAY":
        # A profile for colours says nothing about the grey picture that is written.
        metadata = replace(metadata, icc_profile=None)
    return Frame(values, dtype, metadata)


@contextmanager
def named(file: Path | str, page: str = "") -> Iterator[None]:
    """Name a file, and a page of it, in whatever goes wrong while it is read.

    Args:
        file: the file.
        page: what the page is called, such as "page 2 of 3"; nothing where there is but one.

    Raises:
        PictureError: anything went wrong within.
    """
    where = f"{page} " if page else ""
    try:
        yield
    except PictureError as error:
        raise PictureError(where + error.cause, file=file, remedy=error.remedy) from error
    except FileNotFoundError as error:
        raise PictureError("no such file", file=file, remedy="check the path") from error
    except IsADirectoryError as error:
        raise PictureError("is a folder, not a picture", file=file, remedy="name a file") from error
    except OutsideFileError as error:
        raise PictureError(f"{where}is truncated", file=file, remedy=TRUNCATED_REMEDY) from error
    except MemoryError as error:
        raise too_large(file, where) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, EINVAL):
            raise unreadable(file, error, where) from error
        # Decoders meet damage with exceptions of every kind, and seek to places that cannot be:
        # all mean that the file is damaged.
        cause = f"{where}is damaged or truncated ({reason_of(error)})"
        raise PictureError(cause, file=file, remedy=TRUNCATED_REMEDY) from error


def too_large(file: Path | str, where: str = "") -> PictureError:
    """The error for a picture that there is no memory for."""
    cause = f"{where}does not fit into memory"
    return PictureError(cause, file=file, remedy="cut it into smaller pictures")


def unreadable(file: Path | str, error: OSError, where: str = "") -> PictureError:
    """The error for a file that the system does not give."""
    cause = f"{where}cannot be read ({error.strerror or error})"
    return PictureError(cause, file=file, remedy="check its permissions and disk")


def reason_of(error: Exception) -> str:
    """The first line of a decoder's complaint, or its name where it says nothing."""
    text = str(getattr(error, "strerror", None) or error).strip().partition("\n")[0]
    return (text or type(error).__name__)[:LONGEST_REASON]
