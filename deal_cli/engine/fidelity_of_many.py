"""How far many frames together are from their sources: one `Fidelity` for a whole clip."""

from __future__ import annotations

from dataclasses import replace

from deal_cli.engine.fidelity import Fidelity

_MEANS = ("mean_shift", "mean_change", "mean_shift_k", "mean_change_k")
_GREATEST = ("p999_change", "p999_change_k", "beyond", "hottest_before_c", "hottest_after_c")
_LEAST = ("coldest_before_c", "coldest_after_c")


class FidelityOfMany:
    """Frames added up as they come.

    Means are over all pixels of all frames; `p999_change` is that of the frame that changed most;
    the hottest and the coldest spots are those of the whole clip.
    """

    def __init__(self) -> None:
        self._sum: Fidelity | None = None

    def add(self, fidelity: Fidelity) -> None:
        """One more frame."""
        self._sum = fidelity if self._sum is None else _added(self._sum, fidelity)

    def result(self) -> Fidelity | None:
        """All frames together; None where none held a measurement."""
        return self._sum


def _added(a: Fidelity, b: Fidelity) -> Fidelity:
    pixels = a.pixels + b.pixels
    figures: dict[str, float | None] = {}
    for name in (*_MEANS, *_GREATEST, *_LEAST):
        one, other = getattr(a, name), getattr(b, name)
        if one is None or other is None:
            figures[name] = other if one is None else one
        elif name in _MEANS:
            figures[name] = (one * a.pixels + other * b.pixels) / pixels
        else:
            figures[name] = max(one, other) if name in _GREATEST else min(one, other)
    return replace(
        a,
        pixels=pixels,
        hottest_before=max(a.hottest_before, b.hottest_before, key=lambda spot: spot.value),
        hottest_after=max(a.hottest_after, b.hottest_after, key=lambda spot: spot.value),
        coldest_before=min(a.coldest_before, b.coldest_before, key=lambda spot: spot.value),
        coldest_after=min(a.coldest_after, b.coldest_after, key=lambda spot: spot.value),
        outside=a.outside + b.outside,
        **figures,  # type: ignore[arg-type]
    )
