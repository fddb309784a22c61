"""How the network sees the numbers of a picture: which become 0 and 1, and what is looked at twice.

An ordinary picture is seen on one line. Where a few pixels are far hotter or colder than all
others, that line would be theirs: a flame in a scene of a few degrees leaves the scene some grey
levels of 256, and its noise none. The bulk of such a picture is seen a second time, on a line of
its own on which the flame is saturated, and what is corrected there holds for the bulk; the flame
keeps what was corrected on the line that shows it whole. A single map that bends outside the bulk
shows both at once, and was tried: what the network errs by in the flame grows by the slope of the
bend, which dims it by an eighth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ORDINARY, RARE = 16.0, 24.0  # bulks that a line may span; from here on a closer look counts in full
CLOSE = 3.5  # bulks that the closer look spans
FADE = 0.05  # of the span, outside of which nothing is moved outwards
RAMP = 0.15  # of the closer look's span: where it ends for the sake of others, trust falls to 0

Values = NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """A line from source values to [0, 1], and perhaps a closer one for the bulk.

    Attributes:
        low: the value that becomes 0.
        high: the value that becomes 1.
        closer: the line for the bulk; None for an ordinary picture.
        weight: how much the closer look counts where it is to be trusted, 0 to 1.
    """

    low: float
    high: float
    closer: View | None = None
    weight: float = 1.0

    @property
    def range(self) -> tuple[float, float]:
        """What becomes 0 and 1."""
        return self.low, self.high

    @property
    def span(self) -> np.float32:
        """Source values that [0, 1] stands for."""
        return np.float32(self.high - self.low)

    def to_unit(self, values: Values, out: Values) -> None:
        """Write `values`, of any shape, as [0, 1] into `out`."""
        np.subtract(values, np.float32(self.low), out=out)
        out /= self.span
        np.clip(out, 0, 1, out=out)

    def fade(self, correction: Values, values: Values) -> None:
        """Lessen a correction, in place, that would move `values` outside the line farther out.

        The line shows them as 0 or 1 alike, and what is not seen is not to be sharpened: the
        hottest things get no hotter. That a dead pixel comes back among its neighbours stays.
        """
        reach = np.float32(FADE) * self.span
        above, below = values - np.float32(self.high), np.float32(self.low) - values
        for excess, outwards in ((above, correction > 0), (below, correction < 0)):
            if excess.size and excess.max() > 0:
                share = np.clip(1 - excess / reach, 0, 1)
                np.multiply(correction, share, out=correction, where=outwards)

    def trust(self, values: Values) -> Values:
        """How much the closer look counts at each of `values`: not where it is saturated."""
        assert self.closer is not None
        ramp = np.float32(RAMP) * self.closer.span
        share: Values = np.full(values.shape, self.weight, np.float32)
        if self.closer.low > self.low:
            share *= np.clip((values - np.float32(self.closer.low)) / ramp, 0, 1)
        if self.closer.high < self.high:
            share *= np.clip((np.float32(self.closer.high) - values) / ramp, 0, 1)
        return share


def fitted(low: float, high: float, centre: float, bulk: float) -> View:
    """The view of a picture whose bulk, `bulk` wide about `centre`, lies within `low` to `high`.

    The closer look comes in gradually, so that pictures which hardly differ are seen alike.
    """
    if not bulk > 0 or not high - low > ORDINARY * bulk:
        return View(low, high)
    weight = min(1.0, ((high - low) / bulk - ORDINARY) / (RARE - ORDINARY))
    reach = CLOSE / 2 * bulk
    return View(low, high, View(max(low, centre - reach), min(high, centre + reach)), weight)
