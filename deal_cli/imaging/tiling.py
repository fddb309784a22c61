"""Tiles that add up to the whole: where to read, what to keep.

Every operation of the network is local, so a tile read with a halo of the receptive radius gives
in its core the pixels that the whole picture would give, and nothing needs blending. What must
hold for that is decided here, on numbers alone: origins on the stride (so that a half-resolution
network sees the same pixel pairs), one read shape (so that one compiled program serves every
tile), and a full halo wherever the picture goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

BAND_PIXELS = 2**20


@dataclass(frozen=True)
class Tile:
    """One tile: `source` is read, and `crop` of the result is written to `core`.

    All edges are pixel indices of the picture, ends exclusive.
    """

    y0: int
    y1: int
    x0: int
    x1: int
    core_y0: int
    core_y1: int
    core_x0: int
    core_x1: int

    @property
    def source(self) -> tuple[slice, slice]:
        """What is read of the picture, halo included."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def core(self) -> tuple[slice, slice]:
        """What is written of the picture."""
        return slice(self.core_y0, self.core_y1), slice(self.core_x0, self.core_x1)

    @property
    def crop(self) -> tuple[slice, slice]:
        """Where the core lies within what was read."""
        return (
            slice(self.core_y0 - self.y0, self.core_y1 - self.y0),
            slice(self.core_x0 - self.x0, self.core_x1 - self.x0),
        )


def bands(height: int, width: int) -> Iterator[slice]:
    """Rows in bands of about a million pixels, so that no intermediate is as large as a picture."""
    step = max(1, BAND_PIXELS // width)
    for start in range(0, height, step):
        yield slice(start, start + step)


def plan_tiles(
    height: int, width: int, *, tile: tuple[int, int], halo: tuple[int, int], stride: int
) -> list[Tile]:
    """Cut a picture into tiles of one shape whose cores partition it, row by row.

    Args:
        height: rows of the picture, a multiple of the stride (the engine pads).
        width: columns of the picture, likewise.
        tile: the most that is read, height and width, halo included, in pixels. Along an edge of
            the picture no longer than this, one tile spans it all; else all are as short as that
            many tiles can be.
        halo: pixels read above and below a core, and beside it, where the picture goes on; rounded
            up to the stride.
        stride: what every edge of a tile is a multiple of.

    Raises:
        ValueError: a size that is not positive, a negative halo, or a tile that its two halos
            leave no core.
    """
    if min(height, width, *tile, stride) < 1 or min(halo) < 0:
        raise ValueError(
            f"sizes must be positive: {height}x{width}, tile {tile}, halo {halo}, stride {stride}"
        )
    assert height % stride == 0 and width % stride == 0, "the engine pads to the stride first"
    rows = _cut(height, tile[0], halo[0], stride)
    columns = _cut(width, tile[1], halo[1], stride)
    return [
        Tile(y0, y1, x0, x1, core_y0, core_y1, core_x0, core_x1)
        for y0, y1, core_y0, core_y1 in rows
        for x0, x1, core_x0, core_x1 in columns
    ]


def _cut(length: int, tile: int, halo: int, stride: int) -> list[tuple[int, int, int, int]]:
    """Cut one axis: `(read start, read end, core start, core end)` of each piece."""
    if length <= tile:
        return [(0, length, 0, length)]
    halo = -(-halo // stride) * stride
    tile = tile // stride * stride
    if tile <= 2 * halo:
        raise ValueError(f"a tile of {tile} pixels leaves no core inside two halos of {halo}")
    # As few tiles as there must be, and these no larger than they need to be.
    count = -(-(length - 2 * halo) // (tile - 2 * halo))
    tile = -(-(length + 2 * halo * (count - 1)) // (count * stride)) * stride
    pieces = []
    core_start = 0
    while core_start < length:
        # The last tile is moved inward where rounding left it too long.
        start = min(max(core_start - halo, 0), length - tile)
        end = start + tile
        core_end = length if end == length else end - halo
        pieces.append((start, end, core_start, core_end))
        core_start = core_end
    return pieces
