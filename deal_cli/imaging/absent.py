"""Pixels that hold no measurement of the scene though their file does not say so.

Maps and exports have a number where nothing was measured, and often no tag that names it. Cores put
rows of their own words, telemetry, above or below a picture. The network would take either for the
hottest or coldest thing there is, the range would be theirs, and what lies beside them would move.
Both are told by what no scene does: very many equal numbers far from all others; whole rows unlike
every row beside them, in a picture that is just those rows higher than a detector.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal_cli.imaging.frame import Absent

#: Numbers that stand for no measurement wherever they stand far from all others.
FILLS = (
    *(-9999.0, -99999.0, -999.0, -9999.9, 9999.0, 99999.0, -32768.0, -32767.0, 1e20, -1e30),
    9.969209968386869e36,  # netCDF
    *(float(np.finfo(np.float32).min), float(np.finfo(np.float32).max)),
)
#: Ends of a dtype, which a dead or a saturated pixel has as well: only areas of them count.
ENDS = (0.0, 32767.0, 65535.0)
LEAST_AREA = 9  # pixels that touch each other
FAR = 1.0  # spans of the other values, from the nearest of them
SPAN = (0.1, 99.9)  # percentiles
MOST_FILLS = 3  # in one picture

#: Columns and rows of detectors whose cores can add telemetry.
DETECTORS = (
    *((80, 60), (160, 120), (206, 156), (256, 192), (320, 240), (320, 256), (336, 256)),
    *((384, 288), (640, 480), (640, 512), (1024, 768), (1280, 1024)),
)
MOST_ROWS = 4  # of telemetry
UNLIKE = 8.0  # times as far from the row beside it as rows of the picture are from theirs


def find_absent(
    values: NDArray[np.float32], dtype: np.dtype[Any], nodata: float | None
) -> Absent | None:
    """What holds no measurement, beside NaN and what the file declares; None for nothing.

    Args:
        values: `(H, W)`, the file's own numbers.
        dtype: of the file; eight bits have no number to spare, and nothing is looked for.
        nodata: the number that the file itself declares.
    """
    if dtype.itemsize < 2:
        return None
    mask, told = np.zeros(values.shape, np.bool_), list[str]()
    rows, where = _telemetry(values, dtype)
    if rows is not None:
        mask[rows] = True
        count = len(range(*rows.indices(len(values))))
        told.append(f"{count} {'row' if count == 1 else 'rows'} of telemetry at the {where}")
    known = mask
    if nodata is not None:
        with np.errstate(over="ignore"):
            known = mask | (values == np.float32(nodata))
    for number, found in _fills(values, known):
        mask |= found
        pixels = int(np.count_nonzero(found))
        told.append(f"{pixels} {'pixel' if pixels == 1 else 'pixels'} of {number:.7g}")
    return Absent(mask, " and ".join(told)) if told else None


def _fills(
    values: NDArray[np.float32], known: NDArray[np.bool_]
) -> list[tuple[float, NDArray[np.bool_]]]:
    """Numbers that stand for no measurement, each with where it does."""
    fills: list[tuple[float, NDArray[np.bool_]]] = []
    wanted = {float(np.float32(number)) for number in (*FILLS, *ENDS)}
    with np.errstate(invalid="ignore"):
        ends = _ends(values)  # of most pictures no more than these is looked at
    if not known.any() and np.isfinite(ends).all() and not wanted.intersection(ends):
        return fills
    for _ in range(MOST_FILLS):
        measured = values[~known & np.isfinite(values)]
        if not measured.size:
            return fills
        for end in _ends(measured):
            if end in wanted and (found := _apart(values, measured, end)) is not None:
                fills.append((end, found))
                known = known | (values == np.float32(end))
                break
        else:
            return fills
    return fills


def _ends(values: NDArray[np.float32]) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _apart(
    values: NDArray[np.float32], measured: NDArray[np.float32], end: float
) -> NDArray[np.bool_] | None:
    """Where a number at one end stands, if it is far from all others and stands for nothing."""
    others = measured[measured != np.float32(end)]
    if not others.size:
        return None
    low, high = np.percentile(others.astype(np.float64), SPAN)
    nearest = float(np.abs(others.astype(np.float64) - end).min())
    if nearest <= FAR * max(high - low, 1e-9):
        return None
    at = values == np.float32(end)
    return at if end not in ENDS else _areas(at)


def _areas(at: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """Those pixels of a mask that belong to an area of `LEAST_AREA`; None where none do."""
    import cv2

    _, labels, statistics, _ = cv2.connectedComponentsWithStats(at.astype(np.uint8), connectivity=8)
    large = statistics[:, cv2.CC_STAT_AREA] >= LEAST_AREA
    large[0] = False
    found: NDArray[np.bool_] = large[labels]
    return found if found.any() else None


def _telemetry(values: NDArray[np.float32], dtype: np.dtype[Any]) -> tuple[slice | None, str]:
    """The rows that a core has added, if there are any, and the end of the picture they are at."""
    height, width = values.shape
    extra = next((height - h for w, h in DETECTORS if w == width and 0 < height - h <= 4), 0)
    if not extra or dtype.kind not in "iu":
        return None, ""
    for rows, where in ((slice(height - extra, height), "bottom"), (slice(0, extra), "top")):
        picture = values[: height - extra] if where == "bottom" else values[extra:]
        edge = picture[-1] if where == "bottom" else picture[0]
        usual = np.median(np.abs(np.diff(picture, axis=0)))
        unlike = np.median(np.abs(values[rows] - edge), axis=1)
        if (unlike > UNLIKE * max(float(usual), 1.0)).all():
            return rows, where
    return None, ""
