"""NumPy's own format: an array, its dtype, and nothing else."""

from __future__ import annotations

import os
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from deal_cli.errors import PictureError
from deal_cli.imaging.formats import Pixels, check_size, truncated
from deal_cli.imaging.frame import Metadata

SIGNATURE = b"\x93NUMPY"


def read(stream: BinaryIO, max_pixels: int) -> Pixels:
    """Read one array `(H, W)`, never through pickle.

    Raises:
        PictureError: truncated, not two-dimensional, or too large.
    """
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    else:
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    if len(shape) != 2:
        raise PictureError(
            f"holds an array of shape {shape}, not one picture",
            remedy="save each (height, width) array to a file of its own",
        )
    check_size(shape[1], shape[0], max_pixels)
    start = stream.tell()
    if stream.seek(0, os.SEEK_END) - start < shape[0] * shape[1] * dtype.itemsize:
        raise truncated()
    stream.seek(start)
    # An object array would be pickled: its dtype is refused by name before a byte is read.
    if dtype.hasobject:
        raise PictureError("holds Python objects, not numbers", remedy="save it as float32")
    array = np.empty(shape, dtype, order="F" if fortran else "C")
    flat = (array.T if fortran else array).reshape(-1)
    stream.readinto(flat.view(np.uint8).data)  # type: ignore[attr-defined]
    return Pixels(array)


def write(array: NDArray[Any], metadata: Metadata, stream: BinaryIO) -> None:
    """Write `(H, W)`; the format has no room for metadata."""
    del metadata
    np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
