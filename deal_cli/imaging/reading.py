"""What a decoder gives becomes a Frame here, and what it raises an error that names the file.

Pictures, pages and videos are read by decoders of many kinds, and whoever reads one wants the same
grey picture and the same few errors of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from errno import EINVAL
from pathlib import Path
from typing import Literal

from deal_cli.config import MAX_PIXELS
from deal_cli.errors import PictureError, UsageError
from deal_cli.imaging import grey
from deal_cli.imaging.absent import find_absent
from deal_cli.imaging.byte_order import looks_swapped
from deal_cli.imaging.formats import TRUNCATED_REMEDY, Pixels
from deal_cli.imaging.formats.directory import OutsideFileError
from deal_cli.imaging.frame import Frame

#: Characters of a decoder's complaint that are passed on.
LONGEST_REASON = 100


Nodata = Literal["auto", "none"] | float
ByteOrder = Literal["auto", "stored", "swapped"]


@dataclass(frozen=True)
class ReadAs:
    """What the numbers of a file are taken for, where the file does not say or is not believed.

    Attributes:
        luminance: turn false colour into its Rec. 601 luma in place of refusing it.
        max_pixels: a larger picture is refused before memory is taken for it.
        nodata: the number that stands where nothing was measured; "auto": what the file declares,
            and what is found to be no part of the scene (`absent`); "none": every number is a
            measurement, whatever the file says.
        byte_order: of sixteen bits; "auto": as they are stored, and refused where they are a scene
            the other way round only (`byte_order`).
        band: the channel that holds the picture, from 1; None where there is but one.
    """

    luminance: bool = False
    max_pixels: int = MAX_PIXELS
    nodata: Nodata = "auto"
    byte_order: ByteOrder = "auto"
    band: int | None = None

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            cause = f"a limit of {self.max_pixels}"
            raise UsageError(cause, remedy="--max-pixels takes 1 and more")
        if self.band is not None and self.band < 1:
            raise UsageError(f"a band {self.band}", remedy="--band takes 1 and more")


AS_FOUND = ReadAs()


def parse_nodata(text: str) -> Nodata:
    """`auto`, `none`, or a number.

    Raises:
        UsageError: something else.
    """
    if text in ("auto", "none"):
        return text  # type: ignore[return-value]
    try:
        return float(text)
    except ValueError:
        remedy = "it takes auto, none or a number"
        raise UsageError(f"'{text}' for --nodata", remedy=remedy) from None


def frame_of(pixels: Pixels, read_as: ReadAs = AS_FOUND) -> Frame:
    """One grey picture from what a file or a page holds.

    Args:
        pixels: its pixels and what it says beside them.
        read_as: what to take them for.

    Raises:
        PictureError: see `grey.to_values`; no such band; or bytes in the wrong order.
    """
    metadata = pixels.metadata
    if read_as.nodata != "auto":
        metadata = replace(metadata, nodata=None if read_as.nodata == "none" else read_as.nodata)
    array = pixels.array
    if read_as.band is not None:
        array = grey.band_of(array, read_as.band)
    if read_as.byte_order == "swapped" and array.dtype.kind in "iu" and array.dtype.itemsize == 2:
        array = array.byteswap()
    elif read_as.byte_order == "auto" and array.ndim == 2 and looks_swapped(array):
        raise PictureError(
            "looks like noise as it is stored, and like a picture with the two bytes of every "
            "number swapped",
            remedy="give --byte-order swapped, or --byte-order stored if it is right as it is",
        )
    values, dtype = grey.to_values(
        array,
        luminance=read_as.luminance,
        tolerance=pixels.tolerance,
        nodata=metadata.nodata,
        bands=pixels.bands,
    )
    absent = None
    if read_as.nodata == "auto":
        absent = find_absent(values, dtype, metadata.nodata)
    profile = metadata.icc_profile
    if pixels.array.ndim == 3 and profile is not None and profile[16:20] != b"GRAY":
        # A profile for colours says nothing about the grey picture that is written.
        metadata = replace(metadata, icc_profile=None)
    return Frame(values, dtype, metadata, absent=absent)


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
