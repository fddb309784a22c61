"""From counts to temperatures: what a radiometric file says of its camera, and Planck's law.

A thermal camera counts radiation. What it tells of its calibration, of the object and of the air
between travels with the picture as a `Radiometry`, so that counts are restored as counts and
become temperatures only when they are written: the conversion is not affine (METHOD §5).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The makers whose files are read.
MAKERS = ("FLIR", "DJI")

#: What the line of a description starts with that holds a `Radiometry`.
LINE = "deal-radiometry/1 "

#: 0 °C in kelvin.
FREEZING = 273.15

#: Rows worked on at a time: float64 is four times as large as the counts.
ROWS = 256


@dataclass(frozen=True)
class Planck:
    """The constants by which FLIR's cameras turn counts into temperatures.

    Attributes:
        r1: scale of the detector's answer, as are `r2`, `b` (K), `f`, and `o` (counts).
        emissivity: of the object, above 0 and at most 1.
        distance: from the object, in m.
        reflected_celsius: apparent temperature of what the object reflects, in °C.
        atmospheric_celsius: temperature of the air, in °C.
        window_celsius: temperature of a window before the camera, in °C.
        window_transmission: of that window, above 0 and at most 1, its value without a window.
        humidity: relative humidity of the air, 0 to 1.
        alpha1: constants of the air's transmission, as are `alpha2`, `beta1`, `beta2` and `x`.

    Raises:
        ValueError: a number is not finite or out of its range, or all of them together give no
            temperatures.
    """

    r1: float
    r2: float
    b: float
    f: float
    o: float
    emissivity: float
    distance: float
    reflected_celsius: float
    atmospheric_celsius: float
    window_celsius: float
    window_transmission: float
    humidity: float
    alpha1: float
    alpha2: float
    beta1: float
    beta2: float
    x: float

    def __post_init__(self) -> None:
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        sound = (
            all(math.isfinite(value) for value in named.values())
            and min(self.r1, self.r2, self.b) > 0
            and 0 < self.emissivity <= 1
            and 0 < self.window_transmission <= 1
            and 0 <= self.humidity <= 1
            and self.distance >= 0
            and min(value for name, value in named.items() if name.endswith("celsius")) >= -FREEZING
        )
        if not sound:
            raise ValueError("a constant of the calibration is out of its range")
        try:
            gain, offset = self._to_object()
        except ArithmeticError:
            gain, offset = 0.0, 0.0
        if not (0 < gain < math.inf and math.isfinite(offset)):
            raise ValueError("the constants of the calibration give no temperatures")

    def celsius(self, counts: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """The temperatures of an object that gave these counts.

        The counts are freed of what the object reflects and of what air and window add and take,
        and Planck's law is solved for the temperature: with `U` the counts of the object alone,
        `T = B / ln(R1 / (R2 (U + O)) + F)`.

        Args:
            counts: float32 or float64 `(H, W)`; restored counts need not be whole.

        Returns:
            float32 `(H, W)`, °C, computed in float64. NaN where the counts are NaN or so low (for
            some constants so high) that no temperature belongs to them: no logarithm is defined.

        Source: FLIR's manuals, "The measurement formula" (Utot = ε τ Uobj + (1 - ε) τ Urefl +
        (1 - τ) Uatm), with a window half way as Tattersall's `Thermimage` for R publishes it
        (`raw2temp`, DOI 10.5281/zenodo.1069704), after Minkina and Dudzik, "Infrared
        Thermography: Errors and Uncertainties", Wiley 2009.
        """

        def temperature(signal: NDArray[np.float64]) -> NDArray[np.float64]:
            return self.b / self._logarithm(signal) - FREEZING

        return self._by_bands(counts, temperature)

    def kelvin_per_count(self, counts: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """How much the temperature rises for one count more: the slope of `celsius`.

        Args:
            counts: float32 or float64 `(H, W)`.

        Returns:
            float32 `(H, W)`, kelvin per count, positive; NaN where `celsius` is.

        Source: the derivative of the formula of `celsius`.
        """
        gain, _ = self._to_object()

        def slope(signal: NDArray[np.float64]) -> NDArray[np.float64]:
            logarithm = self._logarithm(signal)
            inner = self.r1 / (self.r2 * signal)
            rise = gain / signal * inner / (inner + self.f)
            return self.b / logarithm**2 * rise

        return self._by_bands(counts, slope)

    def _by_bands(
        self,
        counts: NDArray[np.floating[Any]],
        function: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    ) -> NDArray[np.float32]:
        """A function of the signal `U + O`, band by band; NaN where that is not positive."""
        gain, offset = self._to_object()
        result = np.empty(counts.shape, np.float32)
        for y in range(0, len(counts), ROWS):
            signal = counts[y : y + ROWS].astype(np.float64) * gain + (self.o - offset)
            signal[~(signal > 0)] = np.nan
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                result[y : y + ROWS] = function(signal)
        return result

    def _logarithm(self, signal: NDArray[np.float64]) -> NDArray[np.float64]:
        """The logarithm of Planck's law; NaN where no temperature above 0 K belongs to it."""
        logarithm: NDArray[np.float64] = np.log(self.r1 / (self.r2 * signal) + self.f)
        logarithm[~(logarithm > 0)] = np.nan
        return logarithm

    def _to_object(self) -> tuple[float, float]:
        """Gain and offset (counts) from the counts of the camera to those of the object alone.

        Raises:
            ArithmeticError: the constants are far from those of any camera.
        """
        celsius, window = self.atmospheric_celsius, self.window_transmission
        # Water in the air, g/m³; the path before the window is taken as long as that behind it.
        water = self.humidity * math.exp(
            1.5587 + 0.06939 * celsius - 2.7816e-4 * celsius**2 + 6.8455e-7 * celsius**3
        )
        path = -math.sqrt(self.distance / 2)
        tau = self.x * math.exp(path * (self.alpha1 + self.beta1 * math.sqrt(water))) + (
            1 - self.x
        ) * math.exp(path * (self.alpha2 + self.beta2 * math.sqrt(water)))
        if tau <= 0:  # the approximation breaks down over long paths through humid air
            raise ArithmeticError("no light comes through")
        gain = 1 / (self.emissivity * tau * window * tau)
        air = self._counts(celsius)
        offset = (
            (1 - self.emissivity) / self.emissivity * self._counts(self.reflected_celsius)
            + (1 - tau) / (self.emissivity * tau) * air
            + (1 - window) / (self.emissivity * tau * window) * self._counts(self.window_celsius)
            + (1 - tau) * gain * air
        )
        return gain, offset

    def _counts(self, celsius: float) -> float:
        """The counts of a black body at this temperature."""
        # Where nothing was set the file says 0 K, which radiates nothing and is no exponent.
        power = min(self.b / max(celsius + FREEZING, 1.0), 700.0)
        return self.r1 / (self.r2 * (math.exp(power) - self.f)) - self.o


@dataclass(frozen=True)
class Radiometry:
    """What a radiometric file says of how its counts came about.

    Attributes:
        maker: "FLIR" or "DJI".
        planck: the calibration; None where the file does not tell one that gives temperatures.

    Raises:
        ValueError: another maker.
    """

    maker: str
    planck: Planck | None = None

    def __post_init__(self) -> None:
        if self.maker not in MAKERS:
            raise ValueError(f"{self.maker!r} is no maker of radiometric files that are read")

    def to_json(self) -> str:
        """One line of JSON in ASCII, plain numbers only; `from_json` gives the same again."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Radiometry:
        """What `to_json` wrote.

        Raises:
            ValueError: not JSON, or a name unknown, missing or twice there, or a number that is
                none, not finite or out of its range.
        """
        try:
            told = json.loads(text, object_pairs_hook=_unique)
            _check_names(told, cls)
            planck = told["planck"]
            if planck is not None:
                _check_names(planck, Planck)
                planck = Planck(**{name: _number(value) for name, value in planck.items()})
            return cls(told["maker"], planck)
        except (ValueError, OverflowError, RecursionError) as error:
            raise ValueError(f"malformed radiometry: {error}") from error


def as_description(radiometry: Radiometry, description: str | None) -> str:
    """A description that a file has room for: what a person wrote, then a line of radiometry."""
    line = LINE + radiometry.to_json()
    return line if description is None else f"{description}\n{line}"


def from_description(text: str) -> tuple[Radiometry | None, str | None]:
    """The radiometry and the person's words of what `as_description` wrote.

    Returns:
        None and the text as it is where its last line holds no radiometry, or a malformed one.
    """
    words, newline, line = text.rpartition("\n")
    if not line.startswith(LINE):
        return None, text
    try:
        radiometry = Radiometry.from_json(line.removeprefix(LINE))
    except ValueError:
        return None, text
    return radiometry, words if newline else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, each name of which stands in it once."""
    told = dict(pairs)
    if len(told) < len(pairs):
        raise ValueError("a name stands there twice")
    return told


def _check_names(told: object, kind: type[Radiometry] | type[Planck]) -> None:
    """Raise ValueError where something is no JSON object of exactly the fields of a class."""
    if not isinstance(told, dict) or set(told) != {field.name for field in fields(kind)}:
        raise ValueError(f"not the names of a {kind.__name__}")


def _number(value: object) -> float:
    """A JSON number as float; ValueError for anything else, OverflowError for one too large."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a number")
    return float(value)
