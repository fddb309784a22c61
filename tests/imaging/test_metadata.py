"""What PNG and JPEG hold beside their pixels, and EXIF everywhere, as other programs read it."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import struct
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from deal_cli.errors import PictureError
from deal_cli.imaging.files import decode, encode, write_frame
from deal_cli.imaging.formats import exif
from deal_cli.imaging.formats.directory import read_block
from deal_cli.imaging.frame import Frame, Metadata, Resolution
from deal_cli.imaging.resize import enlarge

GREY8 = np.random.default_rng(3).integers(0, 256, (24, 40), dtype=np.uint8)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: bytes, mode: str = "L", behind: bytes = b"") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(GREY8).convert(mode).save(stream, "PNG")
    whole = stream.getvalue()
    return whole[:33] + b"".join(chunks) + whole[33:-12] + behind + whole[-12:]


def chunks_of(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        assert (
            zlib.crc32(data[at + 4 : at + 8 + size])
            == struct.unpack_from(">I", data, at + 8 + size)[0]
        )
        found.append((kind, data[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def passed(data: bytes, suffix: str = ".png", scale: int = 1) -> list[tuple[bytes, bytes]]:
    return chunks_of(encode(enlarge(decode(data, "x"), scale), suffix))


CALIBRATION = b"degrees\0" + struct.pack(">iiBB", 0, 255, 0, 2) + b"C\x00-20\x00380"
LASTING = [
    (b"gAMA", struct.pack(">I", 100000)),
    (b"sRGB", b"\1"),
    (b"cICP", bytes((1, 13, 0, 1))),
    (b"sBIT", b"\7"),
    (b"pCAL", CALIBRATION),
    (b"sCAL", b"\x010.5\x000.25"),
    (b"oFFs", struct.pack(">iiB", 16, -8, 0)),
    (b"tEXt", b"Software\0camera 1"),
    (b"zTXt", b"Comment\0\0" + zlib.compress(b"long")),
    (b"iTXt", "Title\0\0\0de\0Titel\0Dächer".encode()),
    (b"prVt", b"private and safe"),
]
FLEETING = [(b"tIME", bytes(7)), (b"bKGD", b"\0\0"), (b"dSIG", b"x"), (b"prVT", b"private")]


def test_chunks_of_lasting_meaning_stay_and_others_go() -> None:
    kept = passed(png(*(chunk(*c) for c in LASTING + FLEETING)))
    assert [c for c in kept if c in LASTING] == LASTING
    assert not {kind for kind, _ in kept} & {kind for kind, _ in FLEETING}
    kinds = [kind for kind, _ in kept]
    assert kinds.index(b"IDAT") > max(kinds.index(kind) for kind, _ in LASTING)


def test_texts_behind_the_pixels_are_read_and_repeated_ones_kept() -> None:
    texts = [b"Description\0first", b"Description\0second", b"Author\0A. N."]
    frame = decode(png(behind=b"".join(chunk(b"tEXt", text) for text in texts)), "x")
    assert frame.metadata.description == "first"
    with Image.open(io.BytesIO(encode(frame, ".png"))) as seen:
        assert seen.text["Author"] == "A. N."  # type: ignore[attr-defined]
    bodies = [body for kind, body in passed(encode(frame, ".png")) if kind == b"tEXt"]
    assert decode(encode(frame, ".png"), "x").metadata == frame.metadata
    assert bodies == texts[1:]


def test_significant_bits_stay_for_grey_and_go_with_colours() -> None:
    assert (b"sBIT", b"\5") in passed(png(chunk(b"sBIT", b"\5\x08"), mode="LA"))
    assert b"sBIT" not in dict(passed(png(chunk(b"sBIT", b"\5\6\5"), mode="RGB")))
    assert b"sBIT" not in dict(passed(png(chunk(b"sBIT", b"\x10"))))


def test_a_chunk_with_a_wrong_checksum_is_left_out() -> None:
    bad = bytearray(chunk(b"tEXt", b"Software\0camera 1"))
    bad[-1] ^= 1
    frame = decode(png(bytes(bad), chunk(b"tEXt", b"Author\0A")), "x")
    assert [k for k, _ in chunks_of(encode(frame, ".png"))].count(b"tEXt") == 1


def test_an_enlarged_png_says_the_new_size_of_its_pixels() -> None:
    after = dict(passed(png(*(chunk(*c) for c in LASTING)), scale=4))
    assert after[b"sCAL"] == b"\x010.125\x000.0625"
    assert struct.unpack(">iiB", after[b"oFFs"]) == (64, -32, 0)
    assert after[b"pCAL"] == CALIBRATION
    micrometres = (b"oFFs", struct.pack(">iiB", 16, -8, 1))
    assert micrometres in passed(png(chunk(*micrometres)), scale=2)
    for kind, body in ((b"sCAL", b"\1wide\0high"), (b"sCAL", b"\x011"), (b"oFFs", b"\0")):
        assert kind not in dict(passed(png(chunk(kind, body)), scale=2))


def test_an_animation_is_refused_and_a_single_frame_is_not() -> None:
    stream = io.BytesIO()
    images = [Image.fromarray(GREY8), Image.fromarray(GREY8[::-1])]
    images[0].save(stream, "PNG", save_all=True, append_images=images[1:])
    with pytest.raises(PictureError, match="more than one picture") as caught:
        decode(stream.getvalue(), "x")
    assert "each frame" in str(caught.value)
    single = png(chunk(b"acTL", struct.pack(">II", 1, 0)), chunk(b"fcTL", bytes(26)))
    np.testing.assert_array_equal(decode(single, "x").values, GREY8)


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg(*segments: bytes, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(GREY8).save(stream, "JPEG", **options)
    whole = stream.getvalue()
    return whole[:20] + b"".join(segments) + whole[20:]


def resource(code: int, data: bytes, name: bytes = b"") -> bytes:
    padded = bytes([len(name)]) + name
    padded += bytes(len(padded) % 2)
    return (
        b"8BIM" + struct.pack(">H", code) + padded + struct.pack(">I", len(data)) + data
    ) + bytes(len(data) % 2)


IPTC = b"\x1c\x02\x05\x00\x04roof\x1c\x02\x78\x00\x05north"
EXTENDED = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + struct.pack(">II", 3, 0) + b"<x>"


def test_iptc_extended_xmp_and_comments_survive_in_jpeg() -> None:
    kept = [
        segment(0xED, b"Photoshop 3.0\0" + resource(0x0404, IPTC, b"odd") + resource(0x0425, b"x")),
        segment(0xE1, EXTENDED),
        segment(0xFE, b"second"),
    ]
    data = jpeg(segment(0xFE, b"caf\xe9"), *kept)
    frame = decode(data, "x")
    assert frame.metadata.description == "café"
    after = encode(frame, ".jpg")
    for part in kept:
        assert after.count(part) == 1
    with Image.open(io.BytesIO(after)) as seen:
        from PIL import IptcImagePlugin

        assert IptcImagePlugin.getiptcinfo(seen) == {(2, 5): b"roof", (2, 120): b"north"}
    assert encode(decode(after, "x"), ".jpg").count(kept[0]) == 1


def test_iptc_longer_than_a_segment_survives() -> None:
    whole = b"".join(resource(0x0404 + k, bytes([k]) * 40000) for k in range(4))
    pieces = [whole[at : at + 60000] for at in range(0, len(whole), 60000)]
    data = jpeg(*(segment(0xED, b"Photoshop 3.0\0" + piece) for piece in pieces))
    after = encode(decode(data, "x"), ".jpg")
    joined = b"".join(part[:-4] for part in after.split(b"Photoshop 3.0\0")[1:-1])
    assert whole.startswith(joined)
    assert whole[len(joined) :] in after
    assert decode(after, "x").metadata == decode(data, "x").metadata


@pytest.mark.parametrize(
    "stale",
    [
        segment(0xE1, b"FLIR\0\1\0\0raw counts"),
        segment(0xE2, b"MPF\0MM\0*"),
        segment(0xE3, b"raw counts of another maker"),
        segment(0xED, b"Photoshop 3.0\0" + resource(0x040C, b"preview")),
        segment(0xED, b"Photoshop 3.0\0" + resource(0x03ED, bytes(16))),
        segment(0xED, b"Photoshop 3.0\0broken"),
        segment(0xED, b"Photoshop 3.0\0" + resource(0x0404, IPTC)[:-4]),
    ],
)
def test_what_would_contradict_the_restored_picture_is_left_out(stale: bytes) -> None:
    assert decode(jpeg(stale), "x").metadata.native is None


def test_jpeg_and_png_pass_over_what_is_the_others() -> None:
    comment = segment(0xFE, b"second")
    frame = decode(jpeg(segment(0xFE, b"first"), comment), "x")
    for suffix in (".png", ".tif", ".bmp"):
        assert decode(encode(frame, suffix), "x").metadata.native is None
    other = replace(frame, metadata=Metadata(native=("png", chunk(b"tEXt", b"a\0b"))))
    assert decode(encode(other, ".jpg"), "x").metadata.native is None


def block_with_thumbnail(order: str = "<") -> tuple[bytes, bytes]:
    """An EXIF block with sizes, densities and a thumbnail; and the thumbnail."""

    def rational(above: int, below: int) -> bytes:
        return struct.pack(order + "II", above, below)

    def entry(code: int, kind: int, count: int, value: int) -> bytes:
        field = struct.pack(
            order + ("HH" if kind == 3 else "I"), *([value, 0][: 2 if kind == 3 else 1])
        )
        return struct.pack(order + "HHI", code, kind, count) + field

    thumbnail = b"\xff\xd8thumbnail\xff\xd9"
    values = rational(72, 1) + rational(300, 7) + rational(4000, 3) + rational(2**32 - 2, 2)
    top = [(282, 5, 1, 200), (283, 5, 1, 208), (296, 3, 1, 2), (0x8769, 4, 1, 80)]
    below = [(40962, 3, 1, 40000), (40963, 4, 1, 24), (41486, 5, 1, 216), (41487, 5, 1, 224)]
    linked = [(259, 3, 1, 6), (513, 4, 1, 240), (514, 4, 1, len(thumbnail))]

    def directory(entries: list[tuple[int, int, int, int]], link: int) -> bytes:
        body = b"".join(entry(*e) for e in entries)
        return struct.pack(order + "H", len(entries)) + body + struct.pack(order + "I", link)

    head = b"II*\0" if order == "<" else b"MM\0*"
    block = head + struct.pack(order + "I", 8) + directory(top, 140)
    block = block.ljust(80, b"\0") + directory(below, 0)
    block = block.ljust(140, b"\0") + directory(linked, 0)
    return block.ljust(200, b"\0") + values + bytes(8) + thumbnail, thumbnail


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_the_thumbnail_of_the_unrestored_picture_is_unlinked_in_place(
    order: str, suffix: str
) -> None:
    block, thumbnail = block_with_thumbnail(order)
    frame = Frame(GREY8.astype(np.float32), GREY8.dtype, Metadata(exif=block))
    kept = decode(encode(frame, suffix), "x").metadata.exif
    assert kept is not None
    assert len(kept) == len(block)
    seen = Image.Exif()
    seen.load(b"Exif\0\0" + block)
    assert seen.get_ifd(ExifTags.IFD.IFD1)[514] == len(thumbnail)
    seen.load(b"Exif\0\0" + kept)
    assert not seen.get_ifd(ExifTags.IFD.IFD1)
    assert [a != b for a, b in zip(block, kept, strict=True)].count(True) == 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_sizes_and_densities_in_exif_follow_the_scale_in_place(order: str) -> None:
    block, _ = block_with_thumbnail(order)
    frame = Frame(GREY8.astype(np.float32), GREY8.dtype, Metadata(exif=block))
    large = enlarge(frame, 2).metadata.exif
    assert large is not None
    assert len(large) == len(block)
    seen = Image.Exif()
    seen.load(b"Exif\0\0" + large)
    assert (seen[282], float(seen[283])) == (144, pytest.approx(600 / 7))
    below = seen.get_ifd(0x8769)
    assert (below[40962], below[40963]) == (80000, 48)
    assert float(below[41486]) == pytest.approx(8000 / 3)
    assert float(below[41487]) == 2**32 - 2


def test_an_aspect_ratio_in_exif_stays() -> None:
    block, _ = block_with_thumbnail()
    none = block.replace(
        struct.pack("<HHIHH", 296, 3, 1, 2, 0), struct.pack("<HHIHH", 296, 3, 1, 1, 0)
    )
    assert none != block
    seen = Image.Exif()
    seen.load(b"Exif\0\0" + exif.enlarged(none, 2))
    assert seen[282] == 72


@pytest.mark.parametrize("scale", [2, 4])
def test_makers_notes_stay_where_they_are(exif_block: bytes, scale: int) -> None:
    frame = Frame(GREY8.astype(np.float32), GREY8.dtype, Metadata(exif=exif_block))
    kept = decode(encode(enlarge(frame, scale), ".jpg"), "x").metadata.exif
    assert kept is not None
    assert kept.index(b"maker's own") == exif_block.index(b"maker's own")


def test_a_makers_note_taken_out_leaves_all_else(exif_block: bytes) -> None:
    def below(block: bytes) -> dict[int, Any]:
        seen = Image.Exif()
        seen.load(b"Exif\0\0" + block)
        return dict(seen) | seen.get_ifd(0x8769) | seen.get_ifd(0x8825)

    before, without = below(exif_block), exif.without_maker_note(exif_block)
    assert before.pop(37500) == b"maker's own" * 3
    assert below(without) == before
    assert len(without) == len(exif_block)
    assert exif.without_maker_note(without) == without


def test_no_makers_note_is_left_in_a_block_however_malformed(exif_block: bytes) -> None:
    def notes(block: bytes) -> int:
        with contextlib.suppress(ValueError):
            tags = [tag for top in read_block(block) for tag in top.directory]
            return sum(tag.code == 37500 for tag in tags)
        return 0

    assert notes(exif_block) == 1
    rng = np.random.default_rng(7)
    for cut in range(len(exif_block)):
        assert notes(exif.without_maker_note(exif_block[:cut])) == 0
        spoilt = bytearray(exif_block)
        spoilt[cut] = rng.integers(256)
        block = exif.cleaned(bytes(spoilt))
        if block is not None:
            assert notes(exif.without_maker_note(block)) == 0
            assert len(exif.without_maker_note(block)) == len(block)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_malformed_exif_is_left_out_and_the_picture_read(suffix: str) -> None:
    whole, _ = block_with_thumbnail()
    for block in (b"junk", b"II*\0", b"II*\0\xff\xff\0\0", b"II+\0" + bytes(20), whole[:20]):
        frame = Frame(GREY8.astype(np.float32), GREY8.dtype, Metadata(exif=block))
        back = decode(encode(frame, suffix), "x")
        assert back.metadata.exif is None
        assert enlarge(frame, 2).metadata.exif is not None
    for cut in range(len(whole)):
        assert len(exif.enlarged(whole[:cut], 4)) == cut
        cleaned = exif.cleaned(whole[:cut])
        assert cleaned is None or len(cleaned) == cut


def test_what_a_jpegs_exif_says_of_the_picture_reaches_a_tiff() -> None:
    source = Image.Exif()
    source[270], source[271], source[274], source[40091] = "roof", "FLIR", 6, b"t\0\0\0"
    frame = decode(jpeg(exif=source), "x")
    with Image.open(io.BytesIO(encode(frame, ".tif"))) as seen:
        kept = seen.getexif()
        assert (kept[270], kept[271], kept[274]) == ("roof", "FLIR", 6)
        assert bytes(kept[40091]) == b"t\0\0\0"


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_the_orientation_is_a_tag_and_nothing_is_turned_however_often(
    suffix: str, exif_block: bytes
) -> None:
    frame = Frame(GREY8.astype(np.float32), GREY8.dtype, Metadata(exif=exif_block))
    for _ in range(3):
        frame = decode(encode(frame, suffix), "x")
        with Image.open(io.BytesIO(encode(frame, suffix))) as seen:
            assert seen.getexif()[274] == 6
        assert frame.values.shape == (24, 40)
    assert np.abs(frame.values - GREY8).mean() < 4


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool on the PATH")
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_exiftool_reads_the_same_before_and_after(
    suffix: str, labelled: Frame, tmp_path: Path
) -> None:
    metadata = replace(labelled.metadata, icc_profile=None, resolution=Resolution(200, 200, "inch"))
    first, second = (tmp_path / f"{name}{suffix}" for name in ("first", "second"))
    write_frame(replace(labelled, metadata=metadata), first)
    orders = ["-Artist=A. N.", "-XMP:Creator=A. N.", "-GPSLatitude=48.5", "-GPSLatitudeRef=N"]
    orders += ["-IPTC:City=Ulm"] if suffix != ".png" else ["-PNG:Author=A. N."]
    orders += ["-overwrite_original", "-q", "-m"]
    subprocess.run(["exiftool", *orders, str(first)], check=True, capture_output=True)
    write_frame(decode(first.read_bytes(), first), second)
    before, after = (exiftool(path) for path in (first, second))
    assert len(before) > 10
    assert {key: after.get(key) for key in before} == before


def exiftool(path: Path) -> dict[str, Any]:
    """What exiftool reads, but for the file itself and where its strips lie."""
    done = subprocess.run(
        ["exiftool", "-j", "-G1", "-n", "-a", str(path)], check=True, capture_output=True
    )
    (tags,) = json.loads(done.stdout)
    own = ("SourceFile", "System:", "ExifTool:", "File:", "Composite:", "IFD0:Strip")
    return {key: value for key, value in tags.items() if not key.startswith(own)}
