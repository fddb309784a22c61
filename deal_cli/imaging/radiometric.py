"""From counts to temperatures: what a radiometric file says of its camera, and Planck's law.

A thermal camera counts radiation. What it tells of its calibration, of the object and of the air
between travels with the picture as a `Radiometry`, so that counts are restored as counts and
become temperatures only when they are written: the conversion is not affine.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Radiometry:
    """What a radiometric file says of how its counts came about.

    Attributes:
        maker: "FLIR" or "DJI".
        planck: the calibration; None where the maker does not tell it in the file.
    """

    maker: str
    planck: None = None
