"""EXIF blocks: a small TIFF of tags that travels inside every kind of picture file.

In PNG and JPEG the block is carried whole, so that what its maker wrote by absolute offsets stays
readable; what must change in it is changed in place. In TIFF its tags live among the file's own:
`tiff` gathers them from there. The orientation is a tag like any other, and nothing is turned.
"""

from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from deal_cli.imaging.formats.directory import SIZES, Tag, read_block
from deal_cli.imaging.frame import Resolution

#: The tags of a picture's first directory that say who made it, with what and when: document,
#: make, model, orientation, software, date, artist, host, ratings, copyright, and Windows' own.
DESCRIPTIVE = frozenset(
    {269, 271, 272, 274, 305, 306, 315, 316, 18246, 18249, 33432, *range(40091, 40096)}
)

X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
_UNITS = {1: "none", 2: "inch", 3: "centimetre"}
_EXIF_DIRECTORY, _MAKER_NOTE = 0x8769, 0x927C
_SHORT, _LONG, _RATIONAL = 3, 4, 5
_TOP = {_SHORT: 2**16 - 1, _LONG: 2**32 - 1}

#: Sizes in pixels: of the picture in the first directory; of the picture, of the subject's place
#: and area in EXIF's.
_PICTURE_SIZES = frozenset({256, 257})
_EXIF_SIZES = frozenset({40962, 40963, 37396, 41492})
#: Pixels per length on the focal plane.
_FOCAL_PLANE = frozenset({41486, 41487})

_PREFIX = b"Exif\0\0"


@dataclass(frozen=True)
class _Place:
    """Where a tag stands in a block: its entry, and its value."""

    entry: int
    kind: int
    count: int
    value: int


def cleaned(block: bytes | None) -> bytes | None:
    """A block as it is carried: without its thumbnail, which shows the unrestored picture.

    The thumbnail is unlinked rather than cut out, so that every offset stays true. None comes back
    for a malformed block: it must not stop a picture.
    """
    if not block:
        return None
    # Some writers of PNG put JPEG's prefix before the block.
    block = block.removeprefix(_PREFIX)
    try:
        order = _order(block)
        first = struct.unpack_from(order + "I", block, 4)[0]
        total = struct.unpack_from(order + "H", block, first)[0]
        read_block(block)
    except (ValueError, struct.error):
        return None
    link = first + 2 + 12 * total
    return block[:link] + bytes(len(block[link : link + 4])) + block[link + 4 :]


def density(block: bytes) -> Resolution | None:
    """The pixel density that an EXIF block states, or None."""
    try:
        return density_of(read_block(block))
    except ValueError:
        return None


def density_of(tags: Iterable[Tag]) -> Resolution | None:
    """The pixel density that tags of a picture's directory state, or None."""
    by_code = {t.code: t for t in tags}
    try:
        x, y = (_number(by_code[code]) for code in (X_RESOLUTION, Y_RESOLUTION))
        unit = _number(by_code[RESOLUTION_UNIT]) if RESOLUTION_UNIT in by_code else 2
    except (KeyError, ValueError, struct.error):
        return None
    if not (0 < x < math.inf and 0 < y < math.inf):
        return None
    return Resolution(x, y, _UNITS.get(int(unit), "none"))


def enlarged(block: bytes, scale: int) -> bytes:
    """The block of a picture enlarged `scale` times: its sizes and densities in pixels updated.

    Every value is changed where it stands. One that the block has no room for stays as it is.
    """
    changed = bytearray(block)
    # A block that is malformed somewhere is scaled as far as it can be read.
    with contextlib.suppress(ValueError, struct.error):
        order = _order(block)
        first = struct.unpack_from(order + "I", block, 4)[0]
        places = _places(block, order, first)
        unit = places.get(RESOLUTION_UNIT)
        if unit is None or struct.unpack_from(order + "H", block, unit.value)[0] != 1:
            _scale_rationals(changed, order, places, {X_RESOLUTION, Y_RESOLUTION}, scale)
        _scale_integers(changed, order, places, _PICTURE_SIZES, scale)
        if _EXIF_DIRECTORY in places:
            below = struct.unpack_from(order + "I", block, places[_EXIF_DIRECTORY].value)[0]
            places = _places(block, order, below)
            _scale_integers(changed, order, places, _EXIF_SIZES, scale)
            _scale_rationals(changed, order, places, _FOCAL_PLANE, scale)
    return bytes(changed)


def without_maker_note(block: bytes) -> bytes:
    """The block without the note that the camera's maker put into it, in a form of their own.

    The entry is taken out of EXIF's directory and the note itself stays, as nothing points at it
    any more: so every other offset stays true, and the block as long as it was.
    """
    changed = bytearray(block)
    # Of a block that is malformed somewhere, what can be read as a note is taken out.
    with contextlib.suppress(LookupError, ValueError, struct.error):
        order = _order(block)
        first = struct.unpack_from(order + "I", block, 4)[0]
        places = _places(block, order, first)
        below = struct.unpack_from(order + "I", block, places[_EXIF_DIRECTORY].entry + 8)[0]
        total = struct.unpack_from(order + "H", block, below)[0]
        start, end = below + 2, below + 2 + 12 * total
        entries = [block[at : at + 12] for at in range(start, min(end, len(block)), 12)]
        note = struct.pack(order + "H", _MAKER_NOTE)
        kept = [entry for entry in entries if not entry.startswith(note)]
        rest = b"".join(kept) + block[end : end + 4]  # behind the entries, the next directory
        struct.pack_into(order + "H", changed, below, total - len(entries) + len(kept))
        changed[start : end + 4] = rest.ljust(len(block[start : end + 4]), b"\0")
    return bytes(changed)


def _order(block: bytes) -> str:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        raise ValueError("not an EXIF block")
    return order


def _number(tag: Tag) -> float:
    """The first number of a tag of unsigned integers, rationals or floats."""
    if tag.kind == _RATIONAL:
        above, below = struct.unpack_from("<II", tag.data)
        return above / below if below else 0.0
    form = {3: "<H", 4: "<I", 11: "<f", 12: "<d"}.get(tag.kind)
    if form is None:
        raise ValueError(f"tag {tag.code} is of kind {tag.kind}")
    return float(struct.unpack_from(form, tag.data)[0])


def _places(block: bytes, order: str, at: int) -> dict[int, _Place]:
    """The places of the tags of the directory at an offset."""
    places: dict[int, _Place] = {}
    total = struct.unpack_from(order + "H", block, at)[0]
    for entry in range(at + 2, at + 2 + 12 * total, 12):
        code, kind, count = struct.unpack_from(order + "HHI", block, entry)
        size = count * SIZES.get(kind, 1)
        value = entry + 8 if size <= 4 else struct.unpack_from(order + "I", block, entry + 8)[0]
        places.setdefault(code, _Place(entry, kind, count, value))
    return places


def _scale_rationals(
    block: bytearray,
    order: str,
    places: dict[int, _Place],
    codes: Iterable[int],
    scale: int,
) -> None:
    # Two tags may share one value.
    for at in {places[c].value for c in codes if c in places and places[c].kind == _RATIONAL}:
        above, below = struct.unpack_from(order + "II", block, at)
        if below and above * scale >= 2**32:
            larger = Fraction(above * scale, below)
            above, below = larger.numerator, larger.denominator
        else:
            above *= scale
        if above < 2**32:
            struct.pack_into(order + "II", block, at, above, below)


def _scale_integers(
    block: bytearray, order: str, places: dict[int, _Place], codes: Iterable[int], scale: int
) -> None:
    for place in (places[c] for c in codes if c in places and places[c].kind in _TOP):
        kind = place.kind
        numbers = struct.unpack_from(_form(order, kind, place.count), block, place.value)
        larger = [n * scale for n in numbers]
        if place.count == 1 and max(larger) > _TOP[kind]:
            # One long number fits where one short number stood.
            kind = _LONG
        if max(larger, default=0) <= _TOP[kind]:
            struct.pack_into(order + "H", block, place.entry + 2, kind)
            struct.pack_into(_form(order, kind, place.count), block, place.value, *larger)


def _form(order: str, kind: int, count: int) -> str:
    return f"{order}{count}{'H' if kind == _SHORT else 'I'}"
