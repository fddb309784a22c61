"""JPEG: 8-bit grey, lossy, and what cameras write most.

Decoders fill what a cut file lacks with grey and go on, so the markers are walked to the end of
the picture first. Thermal cameras keep further pictures behind that end; they are not read here.
"""

from __future__ import annotations

import io
import re
import struct
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from deal_cli.errors import PictureError
from deal_cli.imaging.formats import Pixels, check_size, exif, truncated
from deal_cli.imaging.frame import Metadata, Resolution

SIGNATURE = b"\xff\xd8\xff"

QUALITY = 95

#: Grey saved as colour comes back with channels up to this far apart, in grey levels.
CHROMA_ROUNDING = 2

#: Any marker inside entropy-coded data that ends it: not a stuffed zero, restart or fill byte.
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)

_MAX_SEGMENT = 65533
_EXIF_PREFIX = b"Exif\0\0"
_XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
_APP1, _START_OF_SCAN, _END_OF_IMAGE = 0xE1, 0xDA, 0xD9


def read(stream: BinaryIO, max_pixels: int) -> Pixels:
    """Read the first picture of a JPEG.

    Raises:
        PictureError: truncated, CMYK, or too large.
    """
    from PIL.JpegImagePlugin import JpegImageFile

    data = stream.read()
    segments = _segments(data)
    labels = [bytes(data[start + 4 : end]) for marker, start, end in segments if marker == _APP1]
    block = b"".join(b.removeprefix(_EXIF_PREFIX) for b in labels if b.startswith(_EXIF_PREFIX))
    xmp = [b.removeprefix(_XMP_PREFIX) for b in labels if b.startswith(_XMP_PREFIX)]
    # The plugin itself, not Image.open, whose limit on pixels is global and not ours; and without
    # the labels, about which Pillow warns when they are malformed.
    picture = JpegImageFile(io.BytesIO(_without_labels(data, segments)))
    check_size(*picture.size, max_pixels)
    if picture.mode not in ("L", "RGB"):
        raise PictureError(
            f"is a {picture.mode} JPEG, made for print", remedy="convert it to grey first"
        )
    info = picture.info
    comment = info.get("comment")
    metadata = Metadata(
        exif=block or None,
        xmp=xmp[0] if xmp else None,
        icc_profile=info.get("icc_profile"),
        description=comment.decode("utf-8", errors="replace") if comment else None,
        resolution=_resolution(info, block),
    )
    return Pixels(np.asarray(picture), metadata, tolerance=CHROMA_ROUNDING)


def write(array: NDArray[Any], metadata: Metadata, stream: BinaryIO) -> None:
    """Write `(H, W)` uint8 as grey JPEG; metadata too long for a segment of 64 KiB is left out."""
    from PIL import Image

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
    stream.write(data)


def _segments(data: bytes) -> list[tuple[int, int, int]]:
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
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
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


def _resolution(info: dict[Any, Any], block: bytes) -> Resolution | None:
    """The JFIF density; without a unit there, the density of EXIF; else the aspect ratio."""
    unit = info.get("jfif_unit")
    x, y = (float(v) for v in info.get("jfif_density", (1, 1)))
    if unit in (1, 2) and x and y:
        return Resolution(x, y, "inch" if unit == 1 else "centimetre")
    density = exif.density(block) if block else None
    if density is None and x and y and x != y:
        return Resolution(x, y, "none")
    return density


def _density(resolution: Resolution) -> bytes:
    x, y, unit = resolution.x, resolution.y, resolution.unit
    if unit == "centimetre" and not (float(x).is_integer() and float(y).is_integer()):
        # Whole numbers only: an inch rounds less than a centimetre does.
        x, y, unit = x * 2.54, y * 2.54, "inch"
    whole = [min(max(round(v), 1), 65535) for v in (x, y)]
    return struct.pack(">BHH", {"none": 0, "inch": 1, "centimetre": 2}[unit], *whole)
