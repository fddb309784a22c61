"""The classical methods that `deal evaluate --baselines` sets beside the network.

Each is told nothing of what became of a picture, as the network is; only the two enlargements see
the small picture that another was enlarged from, which is all they can work on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from deal_cli.imaging.classical import destriping
from deal_cli.imaging.classical import filters as classical
from deal_cli.jobs.protocol.tasks import Unit

Restore = Callable[[Unit, Unit | None], Unit | None]


@dataclass(frozen=True)
class Baseline:
    """One classical method.

    Attributes:
        name: as a table shows it.
        made_for: what it was made to mend: "noise", "low contrast", "stripes", "blur" or "low
            resolution".
        settings: its settings, for the legend of a table.
        restore: `(picture, small) -> restored`, all in `[0, 1]`: the degraded picture `(H, W)`,
            the small one `(h, w)` that it was enlarged from or None, and what comes out `(H, W)`;
            None where the method needs a small picture and there is none.
    """

    name: str
    made_for: tuple[str, ...]
    settings: str
    restore: Restore


def _from_picture(method: Callable[[Unit], Unit], picture: Unit, small: Unit | None) -> Unit:
    """Return what the method makes of the degraded picture, whatever it was enlarged from."""
    return method(picture)


def _from_small(
    enlarge: Callable[[Unit, tuple[int, int]], Unit], picture: Unit, small: Unit | None
) -> Unit | None:
    """Return the small picture enlarged to the size of the other; None where there is none."""
    if small is None:
        return None
    height, width = picture.shape
    return enlarge(small, (height, width))


BASELINES = (
    Baseline(
        "non-local means",
        ("noise",),
        f"patches {classical.PATCH} px, search {classical.SEARCH} px, strength σ as estimated",
        partial(_from_picture, classical.non_local_means),
    ),
    Baseline("median 3x3", ("noise",), "3x3 px", partial(_from_picture, classical.median)),
    Baseline(
        "CLAHE",
        ("low contrast",),
        f"clip {classical.CLIP:g}, {classical.TILES}x{classical.TILES} tiles, 256 bins",
        partial(_from_picture, classical.clahe),
    ),
    Baseline(
        "percentile stretch",
        ("low contrast",),
        f"{classical.PERCENTILE:g} to {100 - classical.PERCENTILE:g} %",
        partial(_from_picture, classical.percentile_stretch),
    ),
    Baseline(
        "column median",
        ("stripes",),
        f"profile smoothed by σ {destriping.PROFILE_SIGMA:g} px",
        partial(_from_picture, destriping.column_median),
    ),
    Baseline(
        "residual median",
        ("stripes",),
        f"median of {destriping.ROW_WINDOW} px along the rows",
        partial(_from_picture, destriping.residual_median),
    ),
    Baseline(
        "wavelet-Fourier",
        ("stripes",),
        f"{destriping.WAVELET}, {destriping.LEVELS} levels, σ {destriping.DAMPING:g}",
        partial(_from_picture, destriping.wavelet_fourier),
    ),
    Baseline(
        "1-D guided filter",
        ("stripes",),
        f"rows ±{destriping.ROW_RADIUS} px, ε {destriping.ROW_EPSILON:g}; "
        f"columns ±H/2, ε {destriping.COLUMN_EPSILON:g}",
        partial(_from_picture, destriping.guided_filter_1d),
    ),
    Baseline(
        "midway",
        ("stripes",),
        f"σ of {destriping.MIDWAY_SIGMAS[0]:g} to {destriping.MIDWAY_SIGMAS[-1]:g} px "
        "by least total variation",
        partial(_from_picture, destriping.midway),
    ),
    Baseline(
        "unsharp mask",
        ("blur", "low resolution"),
        f"σ {classical.SHARPEN_SIGMA:g} px, amount {classical.SHARPEN_AMOUNT:g}",
        partial(_from_picture, classical.unsharp_mask),
    ),
    Baseline(
        "bicubic",
        ("low resolution",),
        "a = −0.5, from the small picture",
        partial(_from_small, classical.bicubic),
    ),
    Baseline(
        "Lanczos",
        ("low resolution",),
        "3 lobes, from the small picture",
        partial(_from_small, classical.lanczos),
    ),
)
