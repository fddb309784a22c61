"""Whether an H.264 stream holds luma alone, which its decoder does not pass on.

FFmpeg decodes monochrome H.264 as 4:2:0 with grey chroma, whose luma has limited range unless the
stream says otherwise. Monochrome video comes from grey pictures, which have all levels, and FFmpeg
itself encodes it so without saying it.
"""

from __future__ import annotations

_SPS, _HIGH_PROFILES = 7, (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)


def is_monochrome(extradata: bytes | None) -> bool:
    """Whether the first sequence parameter set says `chroma_format_idc` 0 (ITU-T H.264, 7.3.2.1).

    Args:
        extradata: of the decoder: `avcC`, or an Annex B byte stream.
    """
    data = extradata or b""
    if data[:1] == b"\x01":  # avcC: six bytes, then the length of the first set
        unit = data[8 : 8 + int.from_bytes(data[6:8], "big")]
    else:
        at = data.find(b"\0\0\1")
        unit = data[at + 3 :] if at >= 0 else b""
    if len(unit) < 5 or unit[0] & 31 != _SPS or unit[1] not in _HIGH_PROFILES:
        return False
    bits = "".join(f"{byte:08b}" for byte in unit[4:16])
    _, bits = _golomb(bits)  # seq_parameter_set_id
    chroma, _ = _golomb(bits)
    return chroma == 0


def _golomb(bits: str) -> tuple[int, str]:
    """An unsigned Exp-Golomb number at the start of bits, and those behind it."""
    zeros = len(bits) - len(bits.lstrip("0"))
    end = 2 * zeros + 1
    return int(bits[zeros:end] or "1", 2) - 1, bits[end:]
