"""What the bundled weights promise a thermographer: hot spots stay, dead pixels go, heat stays.

A target is a point behind a lens: a Gaussian of 2 pixels and more across at half its height. It is
drawn into scenes that are degraded and restored with and without it, by the same draw; what the
two differ by is all that the target did.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cameras import LARGE
from numpy.typing import NDArray

from deal_cli.engine.backends.choice import Request
from deal_cli.engine.restorer import Restorer, Settings, open_restorer
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.frame import Frame, Metadata
from deal_cli.imaging.radiometry.calibration import Radiometry
from deal_cli.jobs.degrade.run import SEVERITIES
from deal_cli.model.degradations import OPERATIONS, apply, draw

EDGE, SPACING = 128, 32  # pixels
LOW, HIGH = 6500.0, 12500.0  # counts, of the scenes and their targets
CONTRAST = 0.5  # of the range
PLACES = [(y, x) for y in range(16, EDGE, SPACING) for x in range(16, EDGE, SPACING)]
PLACES = [(y + (x // 16) % 3, x + (y // 16) % 4) for y, x in PLACES]


Picture = NDArray[np.float32]


@pytest.fixture(scope="module", params=["deal", "deal-fast"])
def restorer(request: pytest.FixtureRequest) -> Restorer:
    return open_restorer(Request("cpu", request.param), Settings(tone="keep"))[0]


def targets(fwhm: float) -> Picture:
    """Targets of contrast 1 at all places; of no width: single pixels."""
    v, u = np.mgrid[:EDGE, :EDGE].astype(np.float32)
    field = np.zeros((EDGE, EDGE), np.float32)
    for y, x in PLACES:
        if fwhm:
            sigma = fwhm / 2.3548
            field += np.exp(-((v - y) ** 2 + (u - x) ** 2) / (2 * sigma**2))
        else:
            field[y, x] = 1
    return field


def degraded(scene: Picture, operation: str | None, seed: int) -> Picture:
    """Counts `(H, W)` as the camera would give them."""
    if operation is None:
        return np.rint(scene)
    unit = torch.from_numpy((scene - LOW) / (HIGH - LOW))[None, None]
    drawn = draw(operation, np.random.default_rng(seed))
    worse = apply(unit, torch.tensor([SEVERITIES["low"]]), [drawn])[0, 0].numpy()
    return np.rint(worse * (HIGH - LOW) + LOW).astype(np.float32)


def amplitudes(restorer: Restorer, fwhm: float, operation: str | None) -> tuple[Picture, Picture]:
    """What is left of each target's peak before and after restoring, as shares of its contrast."""
    field, before, after = targets(fwhm), [], []
    contrast = CONTRAST * (HIGH - LOW)
    for seed in (1, 2):
        scene = draw_scene(seed, EDGE, EDGE, "uint16").values
        pair = [degraded(scene + share * field, operation, seed) for share in (0, contrast)]
        frames = [Frame(picture, np.dtype(np.uint16)) for picture in pair]
        made = [restorer.restore(frame).frame.values for frame in frames]
        before += [(pair[1] - pair[0])[place] / contrast for place in PLACES]
        after += [(made[1] - made[0])[place] / contrast for place in PLACES]
    return np.array(before, np.float32), np.array(after, np.float32)


#: Where the weights fall short: the smallest targets in noise of a thirteenth of their contrast
#: keep .89 of it with `deal`, in white noise and in shot noise; with `deal-fast` .91 and .95.
SHORT = {("deal", 2.0, "gaussian"), ("deal", 2.0, "shot")}


@pytest.mark.parametrize("operation", [None, *(name for name in OPERATIONS if name != "tone")])
@pytest.mark.parametrize("fwhm", [2.0, 3.0, 4.0])
def test_hot_targets_keep_their_amplitude(
    request: pytest.FixtureRequest, restorer: Restorer, fwhm: float, operation: str | None
) -> None:
    if (restorer.backend.facts.weights, fwhm, operation) in SHORT:
        request.applymarker(pytest.mark.xfail(strict=True, reason="keeps less than nine tenths"))
    before, after = amplitudes(restorer, fwhm, operation)
    left, kept = float(np.median(before)), float(np.median(after))
    # Blur and sampling lower a peak, and restoring may give some of it back; never more.
    assert 0.9 * left <= kept <= 1.1 * max(left, 1.0)
    if operation is None:
        assert abs(after - before).max() < 0.1


def test_a_single_pixel_without_a_skirt_is_dead(restorer: Restorer) -> None:
    _, after = amplitudes(restorer, 0.0, None)
    assert np.median(after) < 0.2


def test_clean_radiometric_frames_keep_their_temperatures(restorer: Restorer) -> None:
    metadata = Metadata(radiometry=Radiometry("FLIR", LARGE))
    means, tails = [], []
    for seed in range(8):
        warmth = (draw_scene(seed, 256, 320, "uint16").values - 7000) / 2500
        noise = np.random.default_rng(seed).normal(0, 4, warmth.shape)  # counts, 30 mK
        counts = np.rint(13500 + 3200 * warmth + noise).astype(np.float32)
        told = restorer.restore(Frame(counts, np.dtype(np.uint16), metadata)).fidelity
        assert told is not None
        assert told.mean_change_k is not None
        assert told.p999_change_k is not None
        means.append(told.mean_change_k)
        tails.append(told.p999_change_k)
    assert max(means) < 0.01
    assert max(tails) < 0.1
