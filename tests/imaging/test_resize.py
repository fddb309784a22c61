from __future__ import annotations

import numpy as np
import pytest

from deal_cli.errors import PictureError
from deal_cli.imaging.frame import Frame, Metadata, Resolution
from deal_cli.imaging.resize import enlarge


def frame(values: np.ndarray, resolution: Resolution | None = None) -> Frame:
    return Frame(values.astype(np.float32), np.dtype(np.uint16), Metadata(resolution))


@pytest.mark.parametrize("scale", [2, 4])
def test_a_plane_stays_a_plane_away_from_its_edges(scale: int) -> None:
    y, x = np.mgrid[:20, :24]
    large = enlarge(frame(7000 + 10 * y + 4 * x), scale)
    assert large.values.shape == (20 * scale, 24 * scale)
    assert large.dtype == np.uint16
    v, u = (np.mgrid[: 20 * scale, : 24 * scale] + 0.5) / scale - 0.5
    inner = slice(3 * scale, -3 * scale)
    expected = (7000 + 10 * v + 4 * u)[inner, inner]
    np.testing.assert_allclose(large.values[inner, inner], expected, atol=2e-3)


def test_scale_one_is_the_frame_itself() -> None:
    source = frame(np.ones((3, 4)))
    assert enlarge(source, 1) is source


def test_gaps_stay_as_blocks_and_do_not_spread() -> None:
    values = np.full((8, 8), 5.0)
    values[3, 4], values[6, 1] = np.nan, np.inf
    large = enlarge(frame(values), 2).values
    assert np.isnan(large[6:8, 8:10]).all()
    assert np.isposinf(large[12:14, 2:4]).all()
    assert np.isfinite(large).sum() == 256 - 8
    assert large[np.isfinite(large)].tolist() == pytest.approx([5.0] * 248)


def test_the_density_grows_with_the_picture_and_an_aspect_ratio_does_not() -> None:
    for unit, expected in (("inch", (144, 288)), ("centimetre", (144, 288)), ("none", (72, 144))):
        seen = enlarge(frame(np.ones((4, 4)), Resolution(72, 144, unit)), 2).metadata.resolution
        assert seen is not None
        assert (seen.x, seen.y) == expected


@pytest.mark.parametrize("scale", [0, 3, -2, 8])
def test_other_scales_are_refused(scale: int) -> None:
    with pytest.raises(ValueError, match="1, 2 or 4"):
        enlarge(frame(np.ones((4, 4))), scale)


def test_a_result_beyond_the_limit_is_refused_and_says_what_lifts_it() -> None:
    source = frame(np.ones((10, 20)))
    with pytest.raises(PictureError) as caught:
        enlarge(source, 4, max_pixels=3199)
    assert "80x40" in str(caught.value)
    assert "--max-pixels 3200" in str(caught.value)
    assert "smaller --scale" in str(caught.value)
    assert enlarge(source, 4, max_pixels=3200).width == 80
    assert enlarge(source, 1, max_pixels=1) is source
