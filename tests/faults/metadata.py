"""What became of the metadata of restored files, as exiftool and tifffile see it.

    deal restore IN -o OUT && python tests/faults/metadata.py IN OUT

Prints a line a file: how many tags exiftool finds, how many are the same after, and the groups of
those that changed or are gone; for TIFFs also what tifffile finds different. Facts of the file
itself (its name, dates, size, layout) are left out.
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


def main() -> None:
    """Compare the files of two folders by name."""
    before, after = map(Path, sys.argv[1:3])
    for path in sorted(before.iterdir()):
        other = after / path.name
        if not other.is_file():
            print(f"{path.name}: not restored")
            continue
        old, new = exiftool(path), exiftool(other)
        same = [key for key, value in old.items() if new.get(key) == value]
        gone = Counter(key.split(":")[0] for key in old if key not in new)
        changed = sorted(key for key, value in old.items() if key in new and new[key] != value)
        line = f"{path.name}: {len(old)} tags, {len(same)} the same"
        line += "".join(f"; gone {group} {n}" for group, n in gone.items())
        line += f"; changed {', '.join(changed)}" if changed else ""
        if path.suffix.lower() in (".tif", ".tiff"):
            mine, theirs = tags_of(path), tags_of(other)
            lost = sorted(name for name, value in mine.items() if theirs.get(name) != value)
            line += f"; tifffile: {len(mine)} tags, different {', '.join(lost) or 'none'}"
        print(line)


if __name__ == "__main__":
    main()
