"""A small file cannot make a large picture, and a constant picture is no reason to refuse one."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from deal_cli.errors import PictureError
from deal_cli.imaging.files import decode
from deal_cli.imaging.formats import bounds
from deal_cli.imaging.reading import ReadAs

SIDE = 20000


def tiff(array: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, metadata=None, **options)
    return stream.getvalue()


def claiming(data: bytes, side: int) -> bytes:
    """A little-endian classic TIFF that says it is `side` pixels wide, high, and in one strip."""
    patched = bytearray(data)
    at = struct.unpack_from("<I", data, 4)[0]
    for place in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", data, at)[0], 12):
        if struct.unpack_from("<H", data, place)[0] in (256, 257, 278):
            struct.pack_into("<HII", patched, place + 2, 4, 1, side)
    return bytes(patched)


def png_of(width: int, height: int, packed: bytes, bits: int = 16) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def jpeg_of(side: int, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (16, 16), 128).save(stream, "JPEG", **options)
    data = bytearray(stream.getvalue())
    at = next(k for k in range(len(data)) if data[k : k + 2] in (b"\xff\xc0", b"\xff\xc2"))
    struct.pack_into(">HH", data, at + 5, side, side)
    return bytes(data)


def bmp_of(width: int, height: int, compression: int) -> bytes:
    palette = b"".join(bytes((k, k, k, 0)) for k in range(256))
    body = bytes((4, 9)) * 4 + b"\0\1"
    offset = 54 + len(palette)
    head = b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset)
    fields = (40, width, height, 1, 8, compression, 0, 0, 0, 256, 0)
    return head + struct.pack("<IiiHHIIiiII", *fields) + palette + body


SMALL = np.full((16, 16), 7000, np.uint16)
BOMBS = {
    "png": png_of(SIDE, SIDE, zlib.compress(bytes(2000))),
    "jpeg": jpeg_of(SIDE),
    "progressive jpeg": jpeg_of(SIDE, progressive=True),
    "bmp": bmp_of(SIDE, SIDE, 0),
    "run-length bmp": bmp_of(SIDE, SIDE, 1),
    "npy": b"\x93NUMPY\1\0v\0"
    + f"{{'descr': '<u2', 'fortran_order': False, 'shape': ({SIDE}, {SIDE}), }}".encode().ljust(
        118
    ),
    **{
        f"tiff {kind}": claiming(tiff(SMALL, compression=kind), SIDE)
        for kind in (None, "lzw", "deflate", "packbits", "zstd", "lzma")
    },
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_size_that_the_bytes_cannot_hold_is_refused_without_taking_memory(name: str) -> None:
    decode(tiff(SMALL), "x")  # imports what imports take
    tracemalloc.start()
    try:
        with pytest.raises(PictureError, match=r"damaged|truncated") as caught:
            decode(BOMBS[name], "x")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.remedy
    assert peak < 20e6


@pytest.mark.parametrize("value", [0, 255, 7000, 65535])
@pytest.mark.parametrize(
    "options",
    [
        {"compression": "deflate", "compressionargs": {"level": 9}},
        {"compression": "deflate", "compressionargs": {"level": 9}, "predictor": True},
        {"compression": "lzw"},
        {"compression": "lzw", "predictor": True},
        {"compression": "packbits"},
        {"compression": "zstd", "compressionargs": {"level": 22}},
        {"compression": "lzma"},
        {"compression": None},
    ],
)
def test_constant_tiffs_pressed_hardest_are_read(value: int, options: dict[str, Any]) -> None:
    array = np.full((2048, 2048), value, np.uint16)
    for layout in ({"rowsperstrip": 2048}, {"tile": (256, 256)}):
        assert (decode(tiff(array, **options, **layout), "x").values == value).all()


def test_the_bounds_are_above_what_the_codecs_do_at_best() -> None:
    plain, short = bytes(2**24), bytes(2**14)
    assert len(plain) / len(zlib.compress(plain, 9)) < bounds.DEFLATE
    assert len(plain) / len(zlib.compress(plain, 9)) > 0.98 * bounds.DEFLATE
    assert 500 < len(plain) / len(imagecodecs.lzw_encode(plain)) < bounds.LZW
    assert 60 < len(short) / len(imagecodecs.packbits_encode(short)) <= bounds.PACKBITS
    assert 10000 < len(plain) / len(imagecodecs.zstd_encode(plain, level=22)) < bounds.ZSTD
    assert 5000 < len(plain) / len(imagecodecs.lzma_encode(plain)) < bounds.LZMA


def test_constant_pngs_pressed_hardest_are_read() -> None:
    for bits in (2, 4, 8, 16):
        packed = zlib.compress(bytes(2048 * (1 + 2048 * bits // 8)), 9)
        assert (decode(png_of(2048, 2048, packed, bits), "x").values == 0).all()


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_constant_jpegs_pressed_hardest_are_read(
    mode: str, progressive: bool, subsampling: int
) -> None:
    stream = io.BytesIO()
    Image.new(mode, (4096, 4096), "grey").save(
        stream,
        "JPEG",
        quality=1,
        optimize=True,
        progressive=progressive,
        **({"subsampling": subsampling} if mode == "RGB" else {}),
    )
    data = stream.getvalue()
    assert decode(data, "x").height == 4096
    assert 4096**2 / len(data) < bounds.JPEG_PIXELS


def run_length_bmp(body: bytes) -> bytes:
    data = bytes(bytearray(bmp_of(200, 300, 1))[:-10]) + body
    return data[:2] + struct.pack("<I", len(data)) + data[6:]


def test_run_length_bmps_are_read_unless_they_skip_most_of_their_pixels() -> None:
    rows = b"".join(bytes((200, row % 256)) + b"\0\0" for row in range(300))
    assert decode(run_length_bmp(rows), "x").values.shape == (300, 200)
    skipping = bytes((5, 9)) + b"\0\2\0\xff" + b"\0\2\0\x2c" + b"\0\0" + b"\0\1"
    with pytest.raises(PictureError, match="declares 60000 bytes of pixels"):
        decode(run_length_bmp(skipping), "x")


def test_the_limit_says_which_option_lifts_it() -> None:
    with pytest.raises(PictureError) as caught:
        decode(tiff(SMALL), "x", ReadAs(max_pixels=255))
    assert "--max-pixels 256" in str(caught.value)
    decode(tiff(SMALL), "x", ReadAs(max_pixels=256))
