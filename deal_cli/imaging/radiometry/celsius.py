"""Counts become degrees Celsius here, when they are written and not before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from deal_cli.errors import PictureError
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.radiometry.calibration import Planck

DTYPE = np.dtype(np.float32)


def check_celsius(frame: Frame) -> Frame:
    """The picture with the dtype that its temperatures will have, and its counts still.

    Raises:
        PictureError: the file tells no calibration.
    """
    _planck(frame)
    return replace(frame, dtype=DTYPE)


def in_celsius(frame: Frame) -> Frame:
    """The picture as temperatures of the object, by the calibration that its file tells.

    Returns:
        float32 °C; NaN where the counts are none that the camera could have counted, and where
        nothing was measured.

    Raises:
        PictureError: the file tells no calibration.
    """
    values = _planck(frame).celsius(frame.values)
    nodata = frame.metadata.nodata
    if nodata is not None and np.isfinite(nodata):
        values[frame.values == np.float32(nodata)] = np.nan
    if frame.absent is not None:
        values[frame.absent.mask] = np.nan
    metadata = replace(frame.metadata, nodata=None)
    return replace(frame, values=values, dtype=DTYPE, metadata=metadata, absent=None)


def _planck(frame: Frame) -> Planck:
    radiometry = frame.metadata.radiometry
    if radiometry is None or radiometry.planck is None:
        whose = "its numbers" if radiometry is None else f"{radiometry.maker}'s counts"
        raise PictureError(
            f"does not say how {whose} become temperatures", remedy="leave out --unit celsius"
        )
    return radiometry.planck
