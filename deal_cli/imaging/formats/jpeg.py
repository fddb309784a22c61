"""JPEG: 8-bit grey, lossy, and what cameras write most.

Decoders fill what a cut file lacks with grey and go on, so the markers are walked to the end of
the picture first. Thermal cameras keep their raw counts in segments of their own: where `flir` or
`dji` knows them, they are the picture, and the visible one is passed over. Neither they nor what
lies behind the end is written again, for it would contradict what is restored.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from deal_cli.errors import OutputError, PictureError
from deal_cli.imaging.formats import Pixels, as_text, bounds, check_size, exif, photoshop, truncated
from deal_cli.imaging.frame import Metadata, Resolution
from deal_cli.imaging.radiometry import dji, flir, rjpeg

SIGNATURE = b"\xff\xd8\xff"

FORMAT = "jpeg"

QUALITY = 95

#: libjpeg's limit, in pixels.
MAX_EDGE = 65500

#: Grey saved as colour comes back with channels up to this far apart, in grey levels.
CHROMA_ROUNDING = 2

#: Any marker inside entropy-coded data that ends it: not a stuffed zero, restart or fill byte.
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)

_MAX_SEGMENT = 65533
_EXIF_PREFIX = b"Exif\0\0"
_XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENDED_XMP_PREFIX = b"http://ns.adobe.com/xmp/extension/\0"
_PHOTOSHOP_PREFIX = b"Photoshop 3.0\0"
_APP0, _APP1, _APP3, _APP13, _APP15, _COMMENT = 0xE0, 0xE1, 0xE3, 0xED, 0xEF, 0xFE
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9

#: Markers without a segment.
_BARE = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})

#: Starts of frames: those that libjpeg decodes, those of them that are coded arithmetically and
#: so without a bound, and all.
_DECODED, _ARITHMETIC = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA), (0xC9, 0xCA)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

#: Segments that are looked at for a maker: a block of FLIR's has 256 parts at most.
_MOST_SEGMENTS = 1024


def read(stream: BinaryIO, max_pixels: int) -> Pixels:
    """Read the raw counts of a radiometric JPEG, or the first picture of any other.

    Returns:
        uint16 `(H, W)` counts with their radiometry, or uint8 `(H, W)` or `(H, W, 3)`.

    Raises:
        PictureError: truncated, CMYK, more than 8 bits, too large, or radiometric and without
            counts that can be read.
    """
    data = stream.read()
    segments = walk(data)
    bodies = [(marker, data[start + 4 : end]) for marker, start, end in segments]
    labels = [body for marker, body in bodies if marker == _APP1]
    block = exif.cleaned(
        b"".join(b.removeprefix(_EXIF_PREFIX) for b in labels if b.startswith(_EXIF_PREFIX))
    )
    xmp = [b.removeprefix(_XMP_PREFIX) for b in labels if b.startswith(_XMP_PREFIX)]
    comments = [body for marker, body in bodies if marker == _COMMENT]
    metadata = Metadata(
        resolution=_resolution(bodies, block),
        exif=block,
        xmp=xmp[0] if xmp else None,
        description=(as_text(comments[0]) or None) if comments else None,
        native=_native(bodies),
    )
    counts = rjpeg.read(bodies, metadata, _frame_size(bodies), max_pixels)
    return _picture(data, segments, metadata, max_pixels) if counts is None else counts


def maker_of(stream: BinaryIO) -> str | None:
    """Whose radiometric JPEG this is, from the heads of its segments alone.

    Args:
        stream: a file at its start; it is left anywhere.

    Returns:
        "FLIR" or "DJI"; None for an ordinary JPEG, for no JPEG, and for one that is damaged before
        its first radiometric segment.
    """
    if stream.read(2) != SIGNATURE[:2]:
        return None
    label: tuple[int, int] | None = None
    for _ in range(_MOST_SEGMENTS):
        head = stream.read(2)
        if len(head) < 2 or head[0] != 0xFF or head[1] in (_START_OF_SCAN, _END_OF_IMAGE):
            return None
        if head[1] == 0xFF:  # a fill byte
            stream.seek(-1, io.SEEK_CUR)
            continue
        if head[1] in _BARE:
            continue
        size = int.from_bytes(stream.read(2), "big") - 2
        start = stream.tell()
        if head[1] == _APP1:
            body = stream.read(min(max(size, 0), flir.HEAD))
            if flir.is_part(body):
                return "FLIR"
            if label is None and body.startswith(_EXIF_PREFIX):
                label = (start + len(_EXIF_PREFIX), size - len(_EXIF_PREFIX))
        elif head[1] == _APP3 and label and dji.is_part(stream.read(min(max(size, 0), dji.HEAD))):
            stream.seek(label[0])
            return "DJI" if dji.made(stream.read(label[1])) else None
        if size < 0:
            return None
        stream.seek(start + size)
    return None


def write(array: NDArray[Any], metadata: Metadata, stream: BinaryIO) -> None:
    """Write `(H, W)` uint8 as grey JPEG; metadata too long for a segment of 64 KiB is left out.

    Raises:
        OutputError: an edge is longer than libjpeg writes.
    """
    from PIL import Image

    height, width = array.shape
    if max(width, height) > MAX_EDGE:
        raise OutputError(
            f"is {width}x{height}, and a JPEG holds {MAX_EDGE} pixels along an edge",
            remedy="write to .png or .tif",
        )

    options: dict[str, Any] = {}
    if metadata.exif and len(metadata.exif) + len(_EXIF_PREFIX) <= _MAX_SEGMENT:
        options["exif"] = _EXIF_PREFIX + metadata.exif
    if metadata.xmp and len(metadata.xmp) + len(_XMP_PREFIX) <= _MAX_SEGMENT:
        options["xmp"] = metadata.xmp
    if metadata.icc_profile:
        options["icc_profile"] = metadata.icc_profile
    if metadata.description:
        comment = metadata.description.encode()
        if len(comment) <= _MAX_SEGMENT:
            options["comment"] = comment
    picture = io.BytesIO()
    Image.fromarray(array).save(picture, "JPEG", quality=QUALITY, **options)
    data = picture.getbuffer()
    if metadata.resolution is not None:
        # Pillow writes whole dots per inch only; the JFIF header holds unit and densities here.
        assert bytes(data[6:11]) == b"JFIF\0"
        data[13:18] = _density(metadata.resolution)
    stream.write(_with_native(bytes(data), metadata))


def _picture(
    data: bytes, segments: list[tuple[int, int, int]], metadata: Metadata, max_pixels: int
) -> Pixels:
    """The visible picture, and metadata to which its colour profile is added.

    Raises:
        PictureError: CMYK, more than 8 bits, or too large.
    """
    from PIL.JpegImagePlugin import JpegImageFile

    _check_frames(data, segments, max_pixels)
    # The plugin itself, not Image.open, whose limit on pixels is global and not ours; and without
    # the labels, about which Pillow warns when they are malformed.
    picture = JpegImageFile(io.BytesIO(_without_labels(data, segments)))
    if picture.mode not in ("L", "RGB"):
        raise PictureError(
            f"is a {picture.mode} JPEG, made for print", remedy="convert it to grey first"
        )
    metadata = replace(metadata, icc_profile=picture.info.get("icc_profile"))
    return Pixels(np.asarray(picture), metadata, tolerance=CHROMA_ROUNDING)


def _frame_size(bodies: list[tuple[int, bytes]]) -> tuple[int, int] | None:
    """Width and height of the visible picture; None where no frame says them."""
    for marker, body in bodies:
        if marker in _FRAMES and len(body) >= 5:
            height, width = struct.unpack_from(">HH", body, 1)
            return width, height
    return None


def _check_frames(data: bytes, segments: list[tuple[int, int, int]], max_pixels: int) -> None:
    """Refuse what no decoder is at hand for, and sizes that are too large, or not in the file.

    Raises:
        PictureError: one of these.
    """
    for marker, start, end in segments:
        if marker not in _FRAMES or end - start < 9:
            continue
        bits, height, width = struct.unpack_from(">BHH", data, start + 4)
        check_size(width, height, max_pixels)
        if marker not in _DECODED or bits != 8:
            kind = "lossless" if marker not in _DECODED else f"{bits}-bit"
            raise PictureError(
                f"is a {kind} JPEG, which deal does not read", remedy="save it as PNG or TIFF"
            )
        if marker not in _ARITHMETIC:
            bounds.check_jpeg(width, height, len(data))


def _native(bodies: list[tuple[int, bytes]]) -> tuple[str, bytes] | None:
    """The segments that only a JPEG holds: IPTC, extended XMP, further comments."""
    resources = photoshop.without_previews(
        b"".join(
            body.removeprefix(_PHOTOSHOP_PREFIX)
            for marker, body in bodies
            if marker == _APP13 and body.startswith(_PHOTOSHOP_PREFIX)
        )
    )
    room = _MAX_SEGMENT - len(_PHOTOSHOP_PREFIX)
    kept = [
        (_APP13, _PHOTOSHOP_PREFIX + resources[at : at + room])
        for at in range(0, len(resources), room)
    ]
    kept += [(m, b) for m, b in bodies if m == _APP1 and b.startswith(_EXTENDED_XMP_PREFIX)]
    kept += [(m, b) for m, b in bodies if m == _COMMENT][1:]
    if not kept:
        return None
    return FORMAT, b"".join(struct.pack(">BBH", 0xFF, m, len(b) + 2) + b for m, b in kept)


def _with_native(data: bytes, metadata: Metadata) -> bytes:
    """A finished JPEG with the metadata's native segments behind its own labels."""
    if metadata.native is None or metadata.native[0] != FORMAT:
        return data
    at = next(
        start
        for marker, start, _ in walk(data)
        if marker != _COMMENT and not _APP0 <= marker <= _APP15
    )
    return data[:at] + metadata.native[1] + data[at:]


def walk(data: bytes) -> list[tuple[int, int, int]]:
    """Marker, start and end of every segment up to the end of the picture.

    Raises:
        PictureError: the file ends before that.
    """
    segments: list[tuple[int, int, int]] = []
    position = 2
    while True:
        start = data.find(b"\xff", position)
        # A marker may be preceded by any number of fill bytes.
        while start >= 0 and data[start + 1 : start + 2] == b"\xff":
            start += 1
        if start < 0 or start + 2 > len(data):
            raise truncated()
        marker = data[start + 1]
        if marker == _END_OF_IMAGE:
            return segments
        position = start + 2
        if marker in _BARE:
            continue
        if position + 2 > len(data):
            raise truncated()
        position += struct.unpack_from(">H", data, position)[0]
        if position > len(data):
            raise truncated()
        segments.append((marker, start, position))
        if marker == _START_OF_SCAN:
            end = _SCAN_END.search(data, position)
            if end is None:
                raise truncated()
            position = end.start()


def _without_labels(data: bytes, segments: list[tuple[int, int, int]]) -> bytes:
    parts = []
    kept_to = 0
    for marker, start, end in segments:
        if marker == _APP1:
            parts.append(data[kept_to:start])
            kept_to = end
    return b"".join([*parts, data[kept_to:]])


def _resolution(bodies: list[tuple[int, bytes]], block: bytes | None) -> Resolution | None:
    """The JFIF density; without a unit there, the density of EXIF; else the aspect ratio."""
    unit, x, y = 0, 1.0, 1.0
    for marker, body in bodies:
        if marker == _START_OF_SCAN:
            break
        if marker == _APP0 and body.startswith(b"JFIF") and len(body) >= 12:
            unit, x, y = struct.unpack_from(">BHH", body, 7)
    if unit in (1, 2) and x and y:
        return Resolution(float(x), float(y), "inch" if unit == 1 else "centimetre")
    density = exif.density(block) if block else None
    if density is None and x and y and x != y:
        return Resolution(float(x), float(y), "none")
    return density


def _density(resolution: Resolution) -> bytes:
    x, y, unit = resolution.x, resolution.y, resolution.unit
    if unit == "centimetre" and not (float(x).is_integer() and float(y).is_integer()):
        # Whole numbers only: an inch rounds less than a centimetre does.
        x, y, unit = x * 2.54, y * 2.54, "inch"
    whole = [min(max(round(v), 1), 65535) for v in (x, y)]
    return struct.pack(">BHH", {"none": 0, "inch": 1, "centimetre": 2}[unit], *whole)
