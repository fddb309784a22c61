"""What became of the metadata of restored files, as exiftool and tifffile see it.

    deal restore IN -o OUT && python tests/faults/metadata.py IN OUT [--values]

Prints a line a file: what was written, how many tags exiftool finds, how many are the same after,
and the groups of those that changed, are gone or are new; for TIFFs also what tifffile finds
different. With `--values` each of these tags follows. A radiometric JPEG is compared with the TIFF
of its counts. Facts of the file itself (its name, dates, size, layout) are left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import tifffile

#: What a new file has of its own.
OF_THE_FILE = {"System", "ExifTool", "Composite", "ZIP"}
LAYOUT = {
    *("StripOffsets", "StripByteCounts", "RowsPerStrip", "Compression", "Predictor", "SubfileType"),
    *("TileWidth", "TileLength", "TileOffsets", "TileByteCounts", "NewSubfileType"),
}


def exiftool(path: Path) -> dict[str, Any]:
    """Every tag by group and name."""
    command = ["exiftool", "-json", "-G1", "-a", "-u", "-struct", "-n", str(path)]
    made = subprocess.run(command, capture_output=True, check=True)
    tags = json.loads(made.stdout)[0]
    return {
        key: value
        for key, value in tags.items()
        if ":" in key and key.split(":")[0] not in OF_THE_FILE and key.split(":")[1] not in LAYOUT
    }


def tags_of(path: Path) -> dict[str, Any]:
    """Every tag of the first page."""
    with tifffile.TiffFile(path) as tiff:
        tags = {tag.name: tag.value for tag in tiff.pages[0].tags}
    return {name: value for name, value in tags.items() if name not in LAYOUT}


def restored(path: Path, folder: Path) -> Path | None:
    """The file that was made of one: of its name, or of its stem and a TIFF, as counts become."""
    made = (folder / path.name, folder / path.with_suffix(".tif").name)
    return next((other for other in made if other.is_file()), None)


def is_tiff(path: Path) -> bool:
    """By its content: a PNG may be called a TIFF."""
    with path.open("rb") as stream:
        return stream.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def pixels_of(path: Path) -> str:
    """Size and kind of the pixels that are written."""
    if is_tiff(path):
        array = tifffile.imread(path)
        return f"{array.shape[-1]}x{array.shape[-2]} {array.dtype}"
    tags = exiftool(path)
    deep = tags.get("PNG:BitDepth", tags.get("File:BitsPerSample", "?"))
    width, height = (
        tags.get(f"PNG:Image{edge}", tags.get(f"File:Image{edge}")) for edge in ("Width", "Height")
    )
    return f"{width}x{height} uint{deep}"


def compared(path: Path, other: Path, *, values: bool) -> str:
    """One line, or with `values` what changed below it."""
    old, new = exiftool(path), exiftool(other)
    same = [key for key, value in old.items() if new.get(key) == value]
    gone = Counter(key.split(":")[0] for key in old if key not in new)
    changed = sorted(key for key, value in old.items() if key in new and new[key] != value)
    added = Counter(key.split(":")[0] for key in new if key not in old)
    line = f"{path.name} -> {other.suffix}, {pixels_of(other)}: {len(old)} tags, "
    line += f"{len(same)} the same"
    line += "".join(f"; gone {group} {n}" for group, n in gone.items())
    line += f"; changed {', '.join(changed)}" if changed else ""
    line += "".join(f"; new {group} {n}" for group, n in added.items())
    if is_tiff(path) and is_tiff(other):
        mine, theirs = tags_of(path), tags_of(other)
        lost = sorted(name for name, value in mine.items() if theirs.get(name) != value)
        line += f"; tifffile: {len(mine)} tags, different {', '.join(lost) or 'none'}"
    if values:
        told = [f"changed {key}: {_short(old[key])} -> {_short(new[key])}" for key in changed]
        told += [f"gone {key}: {_short(value)}" for key, value in old.items() if key not in new]
        told += [f"new {key}: {_short(value)}" for key, value in new.items() if key not in old]
        line += "".join(f"\n    {text}" for text in told)
    return line


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:60]}…"


def main() -> None:
    """Compare the files of two folders by name."""
    before, after = map(Path, sys.argv[1:3])
    for path in sorted(before.iterdir()):
        other = restored(path, after)
        if other is None:
            print(f"{path.name}: not restored")
        else:
            print(compared(path, other, values="--values" in sys.argv[3:]))


if __name__ == "__main__":
    main()
