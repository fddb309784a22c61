"""How many pixels can come out of so many bytes: what a small file cannot truly hold is refused.

A file of a kilobyte may declare a gigapixel. Decoders take the memory first and find the data
missing later, so the claim is held against the most that each compression can do. These are upper
bounds: no valid file exceeds them, whatever made it.
"""

from __future__ import annotations

from deal_cli.errors import PictureError
from deal_cli.imaging.formats import TRUNCATED_REMEDY

#: 258 bytes for two bits, a length code and a distance code.
DEFLATE = 1032

#: A code of 12 bits stands for at most as many bytes as codes came before it, some 3840; this holds
#: even for writers that never clear the table.
LZW = 2560

#: 128 bytes for two.
PACKBITS = 64

#: A block of 128 KiB for four bytes.
ZSTD = 32768

#: 273 bytes for fourteen decisions of 1/45 of a bit each: some 7100.
LZMA = 8192

#: 255 bytes for two. Rows that are skipped, which take less, hold no pixels.
RUN_LENGTHS = 128

#: A block of 64 pixels takes a bit at least, the Huffman code of its mean. Where one component is
#: sampled four times as wide and another four times as high, eight blocks cover 1024 pixels.
JPEG_PIXELS = 1024


def check_bytes(needed: int, held: int, ratio: int) -> None:
    """Refuse a picture of `needed` bytes, unpacked, of which the file holds `held`, packed.

    Raises:
        PictureError: more is declared than `ratio` bytes for each one.
    """
    if needed > held * ratio:
        raise PictureError(
            f"is damaged or truncated (declares {needed} bytes of pixels and holds {held})",
            remedy=TRUNCATED_REMEDY,
        )


def check_jpeg(width: int, height: int, held: int) -> None:
    """Refuse a Huffman-coded JPEG of this size in pixels in `held` bytes.

    Raises:
        PictureError: more is declared than they can hold.
    """
    if width * height > held * JPEG_PIXELS:
        raise PictureError(
            f"is damaged or truncated (declares {width}x{height} and holds {held} bytes)",
            remedy=TRUNCATED_REMEDY,
        )
