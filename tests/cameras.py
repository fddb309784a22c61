"""Calibrations of radiometric cameras, for tests of what becomes of their counts."""

from __future__ import annotations

from dataclasses import replace

from deal_cli.imaging.radiometry.calibration import Planck

#: A black body before the camera, no air between: counts are r1 / (r2 (e^(b/T) - f)) - o.
BLACK_BODY = Planck(
    r1=16000,
    r2=0.0125,
    b=1450,
    f=1,
    o=-7000,
    emissivity=1,
    distance=0,
    reflected_celsius=20,
    atmospheric_celsius=20,
    window_celsius=20,
    window_transmission=1,
    humidity=0.5,
    alpha1=0.006569,
    alpha2=0.01262,
    beta1=-0.002276,
    beta2=-0.00667,
    x=1.9,
)

#: Of the order of a hand-held camera of 320x240 pixels, its object at 1 m in air of 20 °C.
SMALL = replace(
    BLACK_BODY, r1=21106.77, r2=0.012545258, b=1501.0, o=-7340.0, emissivity=0.95, distance=1.0
)

#: The same of one of 640x480 pixels.
LARGE = replace(SMALL, r1=15848.854, r2=0.014533112, b=1414.9, o=-4405.0)
