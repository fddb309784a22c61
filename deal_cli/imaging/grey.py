"""Whatever channels a file holds, one grey picture comes out, or a reason why not.

Thermal cameras and viewers often save a grey picture as three equal channels. That is a grey
picture. False colour is not: a palette maps temperature to colour one way only, so it is refused
unless the caller asks for its luminance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal_cli.errors import PictureError

#: The dtypes a picture may have. Each is written again as what it was read as.
DTYPES = ("uint8", "uint16", "int16", "float32", "float64")

#: Rec. 601 luma of R, G, B.
LUMA = (0.299, 0.587, 0.114)

#: Levels of transparency up to which a fourth channel is that, and no picture: edges are blended.
MOST_OPACITIES = 48

#: Rows worked on at a time, so that no second full-size picture is made.
ROWS = 256


def to_values(
    array: NDArray[Any],
    *,
    luminance: bool = False,
    tolerance: int = 0,
    nodata: float | None = None,
    bands: bool = False,
) -> tuple[NDArray[np.float32], np.dtype[Any]]:
    """One grey float32 picture from the pixels of a file.

    Args:
        array: `(H, W)` grey, or `(H, W, C)` with C = 2 grey and alpha, 3 RGB, 4 RGB and alpha.
        luminance: turn false colour into Rec. 601 luma in place of refusing it.
        tolerance: the largest difference between the channels of a pixel that still counts as
            grey, in the array's units (JPEG rounds its colour channels apart).
        nodata: the number that stands for no measurement; float32 may be too coarse for it.
        bands: whether the channels are called measurements of their own.

    Returns:
        The values, float32 `(H, W)` in the array's own units, and the array's dtype in native
        byte order. float64 passes through float32: it is accepted where the rounding stays below
        1/65536 of the picture's own range, a sixteen-bit sensor's count.

    Raises:
        PictureError: a dtype or layout that cannot be restored rightly, false colour without
            `luminance`, or transparency.
    """
    dtype = array.dtype.newbyteorder("=")
    if dtype.name not in DTYPES:
        raise PictureError(
            f"holds {dtype.name} pixels, which deal does not restore",
            remedy="convert it to 8-bit, 16-bit or float32 grey",
        )
    if 0 in array.shape:
        raise PictureError("holds no pixels", remedy="check how it was made")
    if array.ndim == 2:
        return _as_float32(array, nodata), dtype
    if array.ndim != 3 or not array.shape[2] or (array.shape[2] > 4 and not bands):
        raise PictureError(
            f"has the shape {array.shape}, which is not one picture",
            remedy="save each picture to a file of its own",
        )
    channels = array.shape[2]
    if bands and channels > 1 and _spread_of(array) > tolerance:
        raise PictureError(
            f"has {channels} bands, each a picture of its own",
            remedy=f"give --band 1 to {channels} to choose one",
        )
    if channels in (2, 4) and not _is_opaque(array[..., -1]):
        if len(np.unique(array[..., -1])) > MOST_OPACITIES:
            raise PictureError(
                f"has a picture in its channel {channels}, where transparency should be",
                remedy=f"give --band {channels} to restore that, or --band 1 for the first channel",
            )
        raise PictureError(
            "has transparent pixels, whose values are undefined",
            remedy="flatten it or remove its alpha channel",
        )
    if channels < 3:
        return _as_float32(array[..., 0], nodata), dtype
    colours = array[..., :3]
    spread = _spread(colours)
    if spread > tolerance and not luminance:
        raise PictureError(
            "is in false colour: its numbers are a palette's, not the camera's",
            remedy="save it in grey, or give --luminance to restore its brightness alone",
        )
    if spread == 0:
        return _as_float32(colours[..., 0], nodata), dtype
    return _luma(colours, dtype), dtype


def band_of(array: NDArray[Any], band: int) -> NDArray[Any]:
    """One channel, from 1, of `(H, W)` or `(H, W, C)`.

    Raises:
        PictureError: there is no such channel.
    """
    channels = array.shape[2] if array.ndim == 3 else 1
    if band > channels:
        has = "one band" if channels == 1 else f"{channels} bands"
        raise PictureError(f"has {has}, and no band {band}", remedy="leave out --band")
    return array[..., band - 1] if array.ndim == 3 else array


def to_dtype(
    values: NDArray[np.float32], dtype: np.dtype[Any], nodata: float | None = None
) -> NDArray[Any]:
    """The values as the dtype they are written in.

    Pixels of a float64 picture that stand for no measurement get their number back as precise as
    it was, so that it still equals what the file's tag says.

    Integers are rounded half to even and clipped to the dtype's range. float32 is returned as it
    is, without a copy. `values` of an integer dtype are finite: a gap cannot be written there.
    """
    if dtype.kind == "f":
        out = values.astype(dtype, copy=False)
        if dtype.itemsize > 4 and nodata is not None:
            with np.errstate(over="ignore"):
                out[values == np.float32(nodata)] = nodata
        return out
    limits = np.iinfo(dtype)
    out = np.empty(values.shape, dtype)
    for y in range(0, len(values), ROWS):
        band = np.rint(values[y : y + ROWS])
        assert np.isfinite(band).all(), "a picture of integers cannot hold NaN or infinity"
        out[y : y + ROWS] = np.clip(band, limits.min, limits.max, out=band)
    return out


def _as_float32(array: NDArray[Any], nodata: float | None) -> NDArray[np.float32]:
    if array.dtype.kind != "f" or array.dtype.itemsize == 4:
        return np.ascontiguousarray(array, dtype=np.float32)
    # float64, in bands: an overflow to infinity counts as an infinite error and is refused too.
    values = np.empty(array.shape, np.float32)
    error, low, high = 0.0, np.inf, -np.inf
    for y in range(0, len(array), ROWS):
        band = array[y : y + ROWS]
        with np.errstate(over="ignore"):
            values[y : y + ROWS] = band
        finite = np.isfinite(band)
        if nodata is not None:
            finite &= band != nodata
        if finite.any():
            kept = band[finite]
            error = max(error, float(np.abs(values[y : y + ROWS][finite] - kept).max()))
            low, high = min(low, float(kept.min())), max(high, float(kept.max()))
    if error > 0 and error > (high - low) / 65536:
        raise PictureError(
            "holds float64 values that float32 is too coarse for",
            remedy="subtract their offset or scale them first",
        )
    return values


def _is_opaque(alpha: NDArray[Any]) -> bool:
    opaque = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "iu" else 1
    return bool((alpha == opaque).all())


def _spread_of(array: NDArray[Any]) -> float:
    """The largest difference of any channel from the first."""
    first = array[..., :1]
    with np.errstate(invalid="ignore"):
        return float(np.nanmax(np.abs(array.astype(np.float64) - first), initial=0.0))


def _spread(colours: NDArray[Any]) -> float:
    """The largest difference between the channels of one pixel; NaN in all three is equal."""
    spread = 0.0
    wide = np.float64 if colours.dtype.kind == "f" else np.int32
    for y in range(0, len(colours), ROWS):
        band = colours[y : y + ROWS]
        red = band[..., 0]
        for other in (band[..., 1], band[..., 2]):
            same = (red == other) | ((red != red) & (other != other))
            if same.all():
                continue
            apart = np.abs(red[~same].astype(wide) - other[~same].astype(wide))
            spread = max(spread, float(np.nan_to_num(apart, nan=np.inf).max()))
        green_blue = band[..., 1].astype(wide) - band[..., 2].astype(wide)
        spread = max(spread, float(np.nan_to_num(np.abs(green_blue), nan=0.0).max()))
    return spread


def _luma(colours: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[np.float32]:
    """Rec. 601 luma, rounded where the file counts in integers so that they stay integers."""
    values = np.empty(colours.shape[:2], np.float32)
    for y in range(0, len(values), ROWS):
        band = colours[y : y + ROWS].astype(np.float64) @ np.array(LUMA)
        values[y : y + ROWS] = np.rint(band) if dtype.kind in "iu" else band
    return values
