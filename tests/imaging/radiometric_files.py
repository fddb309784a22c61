"""Bytes of radiometric JPEGs as FLIR's and DJI's cameras lay them out, drawn and not taken."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: A camera's constants as a FLIR record holds them: temperatures in kelvin, humidity 0 to 1.
CAMERA = {
    32: 0.95,  # emissivity
    36: 2.0,  # distance, m
    40: 295.15,  # reflected
    44: 283.15,  # air
    48: 294.15,  # window
    52: 0.9,  # transmission of the window
    60: 0.45,  # humidity
    88: 14861.56,  # R1
    92: 1395.6,  # B
    96: 1.0,  # F
    112: 0.006569,
    116: 0.01262,
    120: -0.002276,
    124: -0.00667,
    128: 1.9,
    776: -992,  # O
    780: 0.032336067,  # R2
}


def counts(height: int = 24, width: int = 32) -> NDArray[np.uint16]:
    """A smooth scene with a little noise: the lower byte of it is noise all over."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(8).normal(0, 12, (height, width))
    return (9000 + 40 * y + 25 * x + 900 * (x > width // 2) + noise).astype(np.uint16)


def png(pixels: NDArray[np.uint16], *, swapped: bool) -> bytes:
    """A 16-bit grey PNG, which should be big-endian and with `swapped` is not."""
    rows = pixels.astype("<u2" if swapped else ">u2")
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 0, 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, body in ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")):
        parts.append(struct.pack(">I", len(body)) + kind + body)
        parts.append(struct.pack(">I", zlib.crc32(kind + body)))
    return b"".join(parts)


def raw_record(data: bytes, size: tuple[int, int], order: str = "<") -> bytes:
    """A record of raw counts of a size (width, height) around their bytes."""
    return struct.pack(order + "3H", 2, *size).ljust(32, b"\0") + data


def plain(pixels: NDArray[np.uint16], order: str = "<") -> bytes:
    data = pixels.astype(order + "u2").tobytes()
    return raw_record(data, (pixels.shape[1], pixels.shape[0]), order)


def camera_record(order: str = "<", **changed: float) -> bytes:
    """A record of the camera; `at44=280.0` puts another number at offset 44."""
    record = bytearray(2476)
    struct.pack_into(order + "H", record, 0, 2)
    numbers = CAMERA | {int(name.removeprefix("at")): value for name, value in changed.items()}
    for at, value in numbers.items():
        struct.pack_into(order + ("i" if at == 776 else "f"), record, at, value)
    return bytes(record)


def fff(records: Sequence[tuple[int, bytes]], order: str = ">", version: int = 100) -> bytes:
    """A block of FLIR records of given types, its header and directory in a byte order."""
    start, at = 64, 64 + 32 * len(records)
    header = b"FFF\0".ljust(20, b"\0") + struct.pack(order + "3I", version, start, len(records))
    entries, bodies = b"", b""
    for kind, body in records:
        fields = (kind, 1, 100, 1, at + len(bodies), len(body))
        entries += struct.pack(order + "HHIIII", *fields).ljust(32, b"\0")
        bodies += body
    return header.ljust(start, b"\0") + entries + bodies


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def flir_segments(block: bytes, room: int = 60000) -> list[bytes]:
    """The APP1 segments over which a block is spread."""
    parts = [block[at : at + room] for at in range(0, len(block), room)]
    last = len(parts) - 1
    return [segment(0xE1, b"FLIR\0\1" + bytes((k, last)) + p) for k, p in enumerate(parts)]


def dji_segments(pixels: NDArray[np.uint16], room: int = 60000) -> list[bytes]:
    data = pixels.astype("<u2").tobytes()
    return [segment(0xE3, data[at : at + room]) for at in range(0, len(data), room)]


def jpeg(*segments: bytes, size: tuple[int, int] = (64, 48), **options: Any) -> bytes:
    """A JPEG in false colour of a size (width, height), with segments behind its labels."""
    picture = Image.linear_gradient("L").resize(size).convert("P")
    picture.putpalette([channel for k in range(256) for channel in (k, 255 - k, 128)])
    stream = io.BytesIO()
    picture.convert("RGB").save(stream, "JPEG", **options)
    whole = stream.getvalue()
    at = 20
    while whole[at + 1] == 0xE1:
        at += 2 + struct.unpack_from(">H", whole, at + 2)[0]
    return whole[:at] + b"".join(segments) + whole[at:]


def label(make: str, size: tuple[int, int] = (64, 48)) -> Image.Exif:
    """An EXIF block that tells a make, a density and the size of the visible picture."""
    exif = Image.Exif()
    exif[271], exif[274], exif[282], exif[283], exif[296] = make, 6, 72.0, 72.0, 2
    below = exif.get_ifd(0x8769)
    below[40962], below[40963] = size
    below[37500] = b"maker's own" * 3
    return exif


def flir(pixels: NDArray[np.uint16] | None = None, **options: Any) -> bytes:
    """A whole FLIR file with its counts stored plainly."""
    pixels = counts() if pixels is None else pixels
    block = fff([(32, camera_record()), (1, plain(pixels))])
    return jpeg(*flir_segments(block), exif=label("FLIR Systems AB"), **options)


def dji(pixels: NDArray[np.uint16], size: tuple[int, int], make: str = "DJI") -> bytes:
    """A whole DJI file; `size` is that of its visible picture, width and height."""
    return jpeg(*dji_segments(pixels), size=size, exif=label(make, size))
