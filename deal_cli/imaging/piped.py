"""Whether bytes from a pipe are one picture, or several behind each other.

A decoder reads the first and passes over the rest without a word; who pipes several wants them all.
Files are not asked: cameras hang previews and records of their own behind a picture.
"""

from __future__ import annotations

import io
import struct

from deal_cli.errors import PictureError
from deal_cli.imaging.formats import bmp, jpeg, npy, png, tiff

_END = b"IEND\xae\x42\x60\x82"
_SIGNATURES = (png.SIGNATURE, *tiff.SIGNATURES, jpeg.SIGNATURE, npy.SIGNATURE, bmp.SIGNATURE)


def refuse_several(data: bytes) -> None:
    """Refuse bytes in which another picture follows the first.

    Raises:
        PictureError: one does.
    """
    if _is_followed(data):
        raise PictureError(
            "holds several pictures, one behind the other",
            remedy="pipe one at a time, or give their files",
        )


def _is_followed(data: bytes) -> bool:
    if data.startswith(png.SIGNATURE):
        end = data.find(_END)
        return end >= 0 and data[end + len(_END) :].startswith(_SIGNATURES)
    if data.startswith(jpeg.SIGNATURE):
        several = b"MPF\0" in data[: 2**16]  # pictures that belong together, by their own index
        return b"\xff\xd9\xff\xd8\xff" in data and not several
    if data.startswith(npy.SIGNATURE):
        return data.startswith(_SIGNATURES, _end_of_npy(data))
    if data.startswith(tiff.SIGNATURES):
        return _another_tiff(data)
    if data.startswith(bmp.SIGNATURE) and len(data) > 6:
        (size,) = struct.unpack_from("<I", data, 2)
        return size > 0 and data.startswith(_SIGNATURES, size)
    return False


def _end_of_npy(data: bytes) -> int:
    """Where the pixels of a `.npy` file end; the end of the data where that is not plain."""
    from numpy.lib import format as npy_format

    stream = io.BytesIO(data)
    try:
        version = npy_format.read_magic(stream)
        read = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
        shape, _, dtype = read[version](stream)
    except (KeyError, ValueError):
        return len(data)
    size = dtype.itemsize
    for edge in shape:
        size *= edge
    return stream.tell() + size


def _another_tiff(data: bytes) -> bool:
    """Whether a TIFF begins behind the pixels of the first one."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages.first
            ends = zip(page.dataoffsets, page.databytecounts, strict=False)
            behind = data[max(offset + count for offset, count in ends) :]
    except Exception:  # of a damaged one, its reading tells
        return False
    for signature in tiff.SIGNATURES:
        at = behind.find(signature)
        while at >= 0:
            order = "<" if signature.startswith(b"II") else ">"
            (first,) = struct.unpack_from(order + "I", behind.ljust(at + 8, b"\0"), at + 4)
            if 8 <= first < len(behind) - at:
                return True
            at = behind.find(signature, at + 1)
    return False
