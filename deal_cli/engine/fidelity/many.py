"""How far many frames together are from their sources: one `Fidelity` for a whole clip."""

from __future__ import annotations

from dataclasses import replace

from deal_cli.engine.fidelity.measure import Fidelity

_MEANS = ("mean_shift", "mean_change")
_MEANS_K = ("mean_shift_k", "mean_change_k")
_GREATEST = ("p999_change", "beyond")
_LARGEST = ("largest_change", "largest_at", "noise")  # of one frame, as `largest_change_k`
_GREATEST_K = ("p999_change_k", "hottest_before_c", "hottest_after_c")
_LEAST_K = ("coldest_before_c", "coldest_after_c")
_KELVIN = (*_MEANS_K, "largest_change_k", *_GREATEST_K, *_LEAST_K)


class FidelityOfMany:
    """Frames added up as they come.

    Means are over all pixels of all frames; `p999_change` is that of the frame that changed most,
    the largest change, its place and the noise are those of the frame where it is;
    the hottest and the coldest spots are those of the whole clip. Where one frame lacks a figure
    in kelvin or °C there are none: a mean would be of some pixels, and nobody could say of which.
    """

    def __init__(self) -> None:
        self._sum: Fidelity | None = None
        self._mixed = False

    def add(self, fidelity: Fidelity) -> None:
        """One more frame."""
        if self._sum is None:
            self._sum = fidelity
        elif fidelity.unit is self._sum.unit:
            self._sum = _added(self._sum, fidelity)
        else:
            self._mixed = True

    def result(self) -> Fidelity | None:
        """All frames together.

        None where none held a measurement, and where the frames have different units: a grey level
        and a count are steps of different size, so that their sum would be of nothing.
        """
        return None if self._mixed else self._sum


def _added(a: Fidelity, b: Fidelity) -> Fidelity:
    pixels = a.pixels + b.pixels
    warm = all(getattr(one, name) is not None for one in (a, b) for name in _KELVIN)
    figures: dict[str, float | None] = {} if warm else dict.fromkeys(_KELVIN)
    for name in (*_MEANS, *(_MEANS_K if warm else ())):
        figures[name] = (getattr(a, name) * a.pixels + getattr(b, name) * b.pixels) / pixels
    for name in (*_GREATEST, *(_GREATEST_K if warm else ())):
        figures[name] = max(getattr(a, name), getattr(b, name))
    for name in _LEAST_K if warm else ():
        figures[name] = min(getattr(a, name), getattr(b, name))
    farthest = max(a, b, key=lambda one: abs(one.largest_change))
    largest = {name: getattr(farthest, name) for name in _LARGEST}
    if warm:
        figures["largest_change_k"] = farthest.largest_change_k
    return replace(
        a,
        **largest,
        pixels=pixels,
        hottest_before=max(a.hottest_before, b.hottest_before, key=lambda spot: spot.value),
        hottest_after=max(a.hottest_after, b.hottest_after, key=lambda spot: spot.value),
        coldest_before=min(a.coldest_before, b.coldest_before, key=lambda spot: spot.value),
        coldest_after=min(a.coldest_after, b.coldest_after, key=lambda spot: spot.value),
        outside=a.outside + b.outside,
        **figures,  # type: ignore[arg-type]
    )
