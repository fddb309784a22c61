"""Damage to files: blind, at numbers of any width, and along each format's own structure."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable, Sequence

from seeds import chunk

EXIF = b"Exif\0\0"

#: The formats, which take turns.
SUFFIXES = (".png", ".tif", ".jpg", ".npy", ".bmp")

Mutator = Callable[[random.Random, bytearray], None]

BYTES = (0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF, 0x20, 0x1B, 0x0A)
NUMBERS = (0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 64, 255, 256, 1000, 0x7FFF, 0x8000, 0xFFFF)
WIDE = (0x10000, 20_000, 30_000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE, 10**6, 10**9)
HUGE = (2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


def mutated(rng: random.Random, suffix: str, data: bytes, others: Sequence[bytes]) -> bytes:
    """One to three injuries to a file; `others` are what may be spliced into it."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 1, 2, 2, 3))):
        if not damaged:
            break
        draw = rng.random()
        if draw < (0.85 if suffix == ".png" else 0.6):
            rng.choice(STRUCTURED[suffix])(rng, damaged)
        elif draw < 0.97:
            rng.choice(BLIND)(rng, damaged)
        else:
            other = rng.choice(others)
            at, start = rng.randrange(len(damaged)), rng.randrange(len(other))
            damaged[at:] = other[start:]
    return bytes(damaged)


def number(rng: random.Random, width: int) -> bytes:
    """A boundary value, or one near it, of 1, 2, 4 or 8 bytes in either order."""
    pool = NUMBERS + (WIDE if width > 2 else ()) + (HUGE if width > 4 else ())
    value = (rng.choice(pool) + rng.choice((0, 0, 0, -1, 1))) % 2 ** (8 * width)
    return value.to_bytes(width, rng.choice(("little", "big")))


def _place(rng: random.Random, data: bytearray) -> int:
    """Half of the time within the first bytes, where the headers are."""
    return rng.randrange(min(len(data), 128) if rng.random() < 0.5 else len(data))


def flip_a_bit(rng: random.Random, data: bytearray) -> None:
    data[_place(rng, data)] ^= 1 << rng.randrange(8)


def set_a_byte(rng: random.Random, data: bytearray) -> None:
    data[_place(rng, data)] = rng.choice(BYTES)


def set_a_number(rng: random.Random, data: bytearray) -> None:
    at, width = _place(rng, data), rng.choice((2, 4, 8))
    data[at : at + width] = number(rng, width)[: len(data) - at]


def cut(rng: random.Random, data: bytearray) -> None:
    del data[_place(rng, data) :]


def delete(rng: random.Random, data: bytearray) -> None:
    at = _place(rng, data)
    del data[at : at + rng.choice((1, 2, 4, 12, rng.randrange(1, 200)))]


def duplicate(rng: random.Random, data: bytearray) -> None:
    at = _place(rng, data)
    part = data[at : at + rng.choice((1, 4, 12, rng.randrange(1, 400)))]
    data[at:at] = part * rng.choice((1, 1, 2, 50))


def insert(rng: random.Random, data: bytearray) -> None:
    at = _place(rng, data)
    data[at:at] = rng.randbytes(rng.randrange(1, 20))


def blank(rng: random.Random, data: bytearray) -> None:
    at = _place(rng, data)
    end = min(len(data), at + rng.randrange(1, 200))
    data[at:end] = bytes([rng.choice((0, 255))]) * (end - at)


def _edited(rng: random.Random, body: bytes) -> bytes:
    """A stretch of bytes with one blind injury, or one to its tags where it is an EXIF block."""
    head = len(EXIF) if body.startswith(EXIF) else 0
    block = bytearray(body[head:])
    if block[:4] in (b"II*\0", b"MM\0*") and rng.random() < 0.7:
        tiff_tag(rng, block)
        return body[:head] + bytes(block)
    edited = bytearray(body)
    if edited:
        rng.choice(BLIND)(rng, edited)
    return bytes(edited)


def png_chunk(rng: random.Random, data: bytearray) -> None:
    """A chunk edited, renamed, dropped, doubled or moved, with checksums that hold."""
    chunks: list[tuple[bytes, bytes]] = []
    position = 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        body = bytes(data[position + 8 : position + 8 + length])
        chunks.append((bytes(data[position + 4 : position + 8]), body))
        position += 12 + length
    if not chunks:
        return
    i = rng.randrange(len(chunks))
    kind, body = chunks[i]
    choice = rng.randrange(7)
    if choice < 3:
        chunks[i] = (kind, _edited(rng, body))
    elif choice == 3:
        kinds = (b"IDAT", b"PLTE", b"tRNS", b"iCCP", b"eXIf", b"pHYs", b"iTXt", b"zTXt", b"acTL")
        chunks[i] = (rng.choice(kinds), body)
    elif choice == 4:
        del chunks[i]
    elif choice == 5:
        chunks[i:i] = [chunks[i]] * rng.choice((1, 2, 100))
    else:
        chunks.insert(rng.randrange(len(chunks)), chunks.pop(i))
    data[8:] = b"".join(chunk(kind, body) for kind, body in chunks)


def png_header(rng: random.Random, data: bytearray) -> None:
    """Size, depth, colour type or interlacing, with a checksum that holds."""
    if len(data) < 33:
        return
    header = bytearray(data[16:29])
    choice = rng.randrange(4)
    if choice < 2:
        header[4 * choice : 4 * choice + 4] = number(rng, 4)
    elif choice == 2:
        header[8] = rng.choice((0, 1, 2, 4, 8, 16, 32))
    else:
        header[rng.randrange(9, 13)] = rng.choice((0, 1, 2, 3, 4, 6, 7, 255))
    data[8:33] = chunk(b"IHDR", bytes(header))


def tiff_tag(rng: random.Random, data: bytearray) -> None:
    """Code, type, count or value of one tag, or where a directory lies."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None or len(data) < 16:
        return
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    head, offset, entry = (8, "Q", 20) if big else (2, "I", 12)
    at = 8 if big else 4
    size = struct.calcsize(offset)
    start = struct.unpack_from(order + offset, data, at)[0]
    if rng.random() < 0.05 or start + head > len(data):
        data[at : at + size] = number(rng, size)
        return
    total = struct.unpack_from(order + ("Q" if big else "H"), data, start)[0]
    tags = [t for t in range(min(total, 100)) if start + head + (t + 1) * entry <= len(data)]
    if not tags or rng.random() < 0.05:
        data[start : start + head] = number(rng, head)
        return
    behind = start + head + len(tags) * entry
    if rng.random() < 0.08:  # what comes next: itself, a place before it, or nowhere
        following = rng.choice((start, 0, 8, behind, len(data) - 8, 2**31)) % 2**32
        data[behind : behind + size] = following.to_bytes(size, "little" if order == "<" else "big")
        return
    tag = start + head + rng.choice(tags) * entry
    parts = ((0, 2), (2, 2), (4, size), (4 + size, size), (4 + size, size), (4 + size, 2))
    place, width = rng.choice(parts)
    value = number(rng, width)
    if place == 0:
        code = rng.choice((254, 258, 259, 262, 266, 273, 277, 279, 284, 317, 320, 322, 324, 330))
        value = struct.pack(order + "H", rng.choice((code, 338, 339, 34665, 34853, 700, 34675)))
    elif place == 2:
        value = struct.pack(order + "H", rng.randrange(20))
    elif rng.random() < 0.3:  # just past what is there, or into itself
        near = rng.choice((len(data), len(data) - 4, start, tag, 0, 8))
        value = near.to_bytes(8, "little")[:width]
        value = value if order == "<" else value[::-1]
    data[tag + place : tag + place + width] = value


def jpeg_segment(rng: random.Random, data: bytearray) -> None:
    """Length, marker or content of a segment; a segment dropped or doubled."""
    starts = []
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        starts.append(position)
        if data[position + 1] == 0xDA:
            break
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    if not starts:
        return
    at = rng.choice(starts)
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    choice = rng.randrange(6)
    if choice == 0:
        data[at + 2 : at + 4] = number(rng, 2)
    elif choice == 1:
        data[at + 1] = rng.choice(
            (0xC0, 0xC1, 0xC2, 0xC4, 0xCC, 0xDB, 0xDD, 0xE0, 0xE1, 0xED, 0xD9)
        )
    elif choice == 2:
        del data[at:end]
    elif choice == 3:
        data[at:at] = data[at:end] * rng.choice((1, 1, 20))
    else:
        body = _edited(rng, bytes(data[at + 4 : end]))
        data[at:end] = data[at : at + 2] + struct.pack(">H", (len(body) + 2) % 65536) + body


def npy_header(rng: random.Random, data: bytearray) -> None:
    """Another shape, dtype or order in the header, whose length is mended half of the time."""
    match = re.search(rb"\{.*?\}", bytes(data[:400]), re.DOTALL)
    if match is None:
        return
    shapes = (b"()", b"(1,)", b"(-1, -1)", b"(0, 4)", b"(99999, 99999)", b"(24, 10**9)")
    shapes += (b"(%d, 2)" % 2**62, b"(24, 32, 1)", b"(24, 32.0)", b"(True, 32)", b"'24'")
    shapes += (b"(" + b"9" * 50 + b", 1)", b"(" * 300, b"(1," * 50 + b")" * 50)
    kinds = (b"<f2", b"<f4", b"<f8", b">f8", b"<f16", b"<c8", b"|O", b"|b1", b"<M8[s]", b"|V9999")
    kinds += (b"<U9", b"|S0", b"|V0", b"<u8", b"<i4", b"", b"x" * 99, b"(2,)<u2", b"<u2,<u2")
    text = match[0]
    choice = rng.randrange(4)
    if choice == 0:
        text = re.sub(rb"('shape': )\(.*?\)", lambda m: m[1] + rng.choice(shapes), text)
    elif choice == 1:
        text = re.sub(rb"('descr': )'.*?'", lambda m: m[1] + b"'%s'" % rng.choice(kinds), text)
    elif choice == 2:
        orders = (b"True", b"False", b"None", b"1", b"[]")
        text = re.sub(rb"(order': )\w+", lambda m: m[1] + rng.choice(orders), text)
    else:
        text = _edited(rng, text)
    if rng.random() < 0.5:  # in place, at the cost of the padding
        text = text[: match.end() - match.start() + 40]
        data[match.start() : match.start() + len(text)] = text
    else:
        data[match.start() : match.end()] = text
        end = bytes(data).find(b"\n", match.start())
        if data[6:7] == b"\1" and end > 0:
            data[8:10] = struct.pack("<H", (end + 1 - 10) % 65536)


def bmp_field(rng: random.Random, data: bytearray) -> None:
    """One number of the two headers."""
    fields = ((2, 4), (10, 4), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2), (30, 4), (34, 4))
    at, width = rng.choice((*fields, (38, 4), (46, 4), (50, 4)))
    if at + width <= len(data):
        data[at : at + width] = number(rng, width)
        if at == 28:
            data[28:30] = struct.pack("<H", rng.choice((0, 1, 2, 4, 8, 16, 24, 32, 64)))
        if at == 30:
            data[30:34] = struct.pack("<I", rng.choice((0, 1, 2, 3, 4, 5, 6, 11)))


BLIND: tuple[Mutator, ...] = (
    flip_a_bit,
    flip_a_bit,
    set_a_byte,
    set_a_number,
    set_a_number,
    cut,
    delete,
    duplicate,
    insert,
    blank,
)

STRUCTURED: dict[str, tuple[Mutator, ...]] = {
    ".png": (png_chunk, png_chunk, png_header),
    ".tif": (tiff_tag,),
    ".jpg": (jpeg_segment,),
    ".npy": (npy_header,),
    ".bmp": (bmp_field,),
}
