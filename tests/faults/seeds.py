"""Small sound picture files of every kind that is read, as a start for damage."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

HEIGHT, WIDTH = 24, 32
GREY = (np.add.outer(np.arange(HEIGHT), 7 * np.arange(WIDTH)) % 256).astype(np.uint8)
COUNTS = GREY.astype(np.uint16) * 251 + 7
DEGREES = GREY.astype(np.float32) / 8 - 3
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
PROFILE = struct.pack(">I", 228) + bytes(12) + b"GRAY" + bytes(16) + b"acsp" + bytes(188)


def seeds() -> dict[str, bytes]:
    """Name, which ends in the format's suffix, -> the file's bytes; the same on every run."""
    made: dict[str, bytes] = {}
    for suffix, files in (
        (".png", _png()),
        (".tif", _tiff()),
        (".jpg", _jpeg()),
        (".bmp", _bmp()),
        (".npy", _npy()),
    ):
        for name, data in files:
            assert name + suffix not in made
            made[name + suffix] = data
    return made


def _exif() -> bytes:
    exif = Image.Exif()
    exif[271], exif[274], exif[306] = "FLIR", 6, "2024:01:01 00:00:00"
    exif.get_ifd(0x8769)[33434] = 0.5
    exif.get_ifd(0x8769)[37500] = b"maker's own" * 3
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 30.0)
    return exif.tobytes().removeprefix(b"Exif\0\0")


def _exif_with_thumbnail() -> bytes:
    """A little-endian block whose second directory is a JPEG of 16 x 16."""
    thumbnail = _saved(GREY[:16, :16], "JPEG")
    first = struct.pack("<HHHI4sI", 1, 271, 2, 4, b"ABC\0", 26)
    second = struct.pack("<HHHIIHHIII", 2, 513, 4, 1, 56, 514, 4, 1, len(thumbnail), 0)
    block = b"II*\0" + struct.pack("<I", 8) + first + second
    return block.ljust(56, b"\0") + thumbnail


def _saved(array: NDArray[Any] | Image.Image, kind: str, **options: Any) -> bytes:
    picture = array if isinstance(array, Image.Image) else Image.fromarray(array)
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def _png() -> Iterator[tuple[str, bytes]]:
    colours = np.repeat(GREY[..., None], 3, 2)
    opaque = np.full_like(GREY, 255)
    text = PngImagePlugin.PngInfo()
    text.add_text("Description", "toit")
    text.add_text("Comment", "packed " * 9, zip=True)
    text.add_itxt("Title", "toit côté nord", "fr", "Titre", zip=True)
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    palette = Image.fromarray(GREY).convert("P")
    yield "grey8", _saved(GREY, "PNG")
    yield "grey16", _saved(COUNTS, "PNG")
    yield "one-pixel", _saved(GREY[:1, :1], "PNG")
    yield "palette", _saved(palette, "PNG")
    yield "palette4", _saved(Image.fromarray(GREY // 16).convert("P"), "PNG", bits=4)
    yield "palette-transparent", _saved(palette, "PNG", transparency=bytes(range(256)))
    yield "colours", _saved(colours, "PNG")
    yield "grey-alpha", _saved(np.dstack([GREY, opaque]), "PNG")
    yield "colours-alpha", _saved(np.dstack([colours, opaque]), "PNG")
    yield "transparent-level", _saved(GREY, "PNG", transparency=3)
    yield "interlaced", _interlaced(GREY)
    yield "text", _saved(GREY, "PNG", pnginfo=text, dpi=(300, 150))
    yield "exif", _saved(GREY, "PNG", exif=b"Exif\0\0" + _exif())
    yield "profile", _saved(COUNTS, "PNG", icc_profile=PROFILE)


def _interlaced(array: NDArray[np.uint8]) -> bytes:
    """Adam7, which Pillow reads and does not write."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)]
    passes += [(2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = [row for y, x, dy, dx in passes for row in array[y::dy, x::dx]]
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], 8, 0, 0, 0, 1)
    chunks = [(b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, body) for kind, body in chunks)


def chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _tiff() -> Iterator[tuple[str, bytes]]:
    def made(array: NDArray[Any] = COUNTS, **options: Any) -> bytes:
        stream = io.BytesIO()
        tifffile.imwrite(stream, array, **{"metadata": None, "software": False, **options})
        return stream.getvalue()

    geographic = [
        (33550, 12, 3, (0.5, 0.5, 0.0), True),
        (33922, 12, 6, (0.0, 0.0, 0.0, 100.0, 200.0, 0.0), True),
        (34735, 3, 8, (1, 1, 0, 1, 1024, 0, 1, 1), True),
        (34737, 2, 8, "WGS 84|", True),
        (42113, 2, 6, "-9999", True),
    ]
    described = [(700, 1, len(XMP), XMP, True), (33723, 7, 12, b"\x1c\x02\x05\0\x07caption", True)]
    grey = {"photometric": "minisblack"}
    yield "plain8", made(GREY, **grey)
    yield "plain16", made(**grey, resolution=(300, 150), description="toit")
    yield "int16", made(COUNTS.astype(np.int16), **grey)
    yield "float32", made(DEGREES, **grey)
    yield "float64", made(DEGREES.astype(np.float64), **grey)
    yield "uint32", made(COUNTS.astype(np.uint32), **grey)
    yield "big-endian", made(byteorder=">", **grey)
    yield "bigtiff", made(bigtiff=True, **grey)
    yield "bigtiff-big-endian", made(DEGREES, bigtiff=True, byteorder=">", **grey)
    for codec in ("lzw", "adobe_deflate", "zstd", "packbits", "lzma"):
        yield codec, made(compression=codec, **grey)
    yield "lzw-predictor", made(compression="lzw", predictor=True, **grey)
    yield "deflate-predictor-float", made(DEGREES, compression="deflate", predictor=True, **grey)
    yield "jpeg", made(GREY, compression="jpeg", **grey)
    yield "jpeg2000", made(compression="jpeg2000", **grey)
    yield "webp", made(np.repeat(GREY[..., None], 3, 2), compression="webp", photometric="rgb")
    yield "tiled", made(tile=(16, 16), **grey)
    yield "tiled-deflate", made(tile=(16, 16), compression="deflate", **grey)
    yield "strips", made(rowsperstrip=5, compression="deflate", **grey)
    yield "colours", made(np.repeat(GREY[..., None], 3, 2), photometric="rgb")
    planes = np.repeat(GREY[None], 3, 0)
    yield "planes", made(planes, photometric="rgb", planarconfig="separate")
    ramp = (np.arange(256, dtype=np.uint16) * 257)[None].repeat(3, 0)
    yield "palette", made(GREY, photometric="palette", colormap=ramp)
    yield "white-is-zero", made(GREY, photometric="miniswhite")
    yield "pages", made(np.stack([COUNTS, COUNTS]), **grey)
    yield "imagej", made(COUNTS, imagej=True, metadata={"unit": "um"})
    yield "ome", made(COUNTS, ome=True, metadata={"axes": "YX"})
    yield "shaped", made(COUNTS, metadata={"axes": "YX"}, **grey)
    yield "geographic", made(DEGREES, extratags=geographic, **grey)
    yield "labelled", made(GREY, extratags=described, iccprofile=PROFILE, **grey)
    exif = [(271, 2, 5, "FLIR", True), (315, 2, 3, "me", True), (274, 3, 1, 6, True)]
    yield "exif", made(extratags=exif, datetime="2024:01:01 00:00:00", **grey)
    stream = io.BytesIO()
    with Image.open(io.BytesIO(_saved(GREY, "PNG"))) as picture:
        block = Image.Exif()
        block.load(b"Exif\0\0" + _exif())
        picture.save(stream, "TIFF", exif=block)
    yield "exif-directories", stream.getvalue()


def _jpeg() -> Iterator[tuple[str, bytes]]:
    colours = Image.fromarray(np.repeat(GREY[..., None], 3, 2))
    yield "baseline", _saved(GREY, "JPEG")
    yield "progressive", _saved(GREY, "JPEG", progressive=True)
    yield "restarts", _saved(GREY, "JPEG", restart_marker_blocks=2)
    yield "colours", _saved(colours, "JPEG", quality=95, subsampling=2)
    yield "print", _saved(colours.convert("CMYK"), "JPEG")
    yield "exif", _saved(GREY, "JPEG", exif=b"Exif\0\0" + _exif())
    yield "thumbnail", _saved(GREY, "JPEG", exif=b"Exif\0\0" + _exif_with_thumbnail())
    yield "profile", _saved(GREY, "JPEG", icc_profile=PROFILE * 2)
    yield "comment", _saved(GREY, "JPEG", comment=b"toit", dpi=(300, 300))
    yield "xmp", _saved(GREY, "JPEG", xmp=XMP)
    plain = _saved(GREY, "JPEG")
    caption = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\x0c\x1c\x02\x78\0\x07caption"
    label = b"\xff\xed" + struct.pack(">H", len(caption) + 2) + caption
    yield "iptc", plain[:2] + label + plain[2:]
    radiometric = b"FLIR\0\1\0\0" + b"FFF\0" + bytes(60)
    label = b"\xff\xe1" + struct.pack(">H", len(radiometric) + 2) + radiometric
    yield "radiometric", plain[:2] + label + plain[2:] + _saved(GREY[:8, :8], "JPEG")


def _bmp() -> Iterator[tuple[str, bytes]]:
    colours = np.repeat(GREY[..., None], 3, 2)
    yield "grey", _saved(GREY, "BMP", dpi=(96, 96))
    yield "palette", _saved(Image.fromarray(GREY).convert("P"), "BMP")
    yield "colours", _saved(colours, "BMP")
    alpha = np.dstack([colours, np.full_like(GREY, 255)])
    yield "alpha", _saved(alpha, "BMP")
    yield "one-bit", _saved(Image.fromarray(GREY).convert("1"), "BMP")
    yield "run-lengths", _run_lengths()


def _run_lengths() -> bytes:
    """RLE8, with a run and an absolute stretch in each row."""
    row = b"\x10\x40\x00\x04\x01\x02\x03\x04\x0c\x80\x00\x00"  # 16, 4 and 12 pixels
    body = row * HEIGHT + b"\0\1"
    ramp = b"".join(bytes([i, i, i, 0]) for i in range(256))
    start = 54 + len(ramp)
    header = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + header + ramp + body


def _npy() -> Iterator[tuple[str, bytes]]:
    def made(array: NDArray[Any], version: tuple[int, int] = (1, 0)) -> bytes:
        stream = io.BytesIO()
        np.lib.format.write_array(stream, array, version=version)
        return stream.getvalue()

    yield "uint8", made(GREY)
    yield "uint16", made(COUNTS)
    yield "int16", made(COUNTS.astype(np.int16))
    yield "float32", made(DEGREES)
    yield "float64", made(DEGREES.astype(np.float64))
    yield "version2", made(COUNTS, (2, 0))
    yield "version3", made(COUNTS, (3, 0))
    yield "fortran", made(np.asfortranarray(COUNTS))
    yield "big-endian", made(COUNTS.astype(">u2"))
    yield "cube", made(np.stack([COUNTS] * 3))
    yield "records", made(np.zeros((4, 4), [("a", "<u2"), ("b", "<f4")]))
    yield "objects", GREY_OBJECTS


#: A header that promises Python objects, and bytes that would be a pickle.
GREY_OBJECTS = (
    b"\x93NUMPY\x01\x00\x46\x00"
    + b"{'descr': '|O', 'fortran_order': False, 'shape': (4, 4), }".ljust(69)
    + b"\n\x80\x04]\x94."
)
