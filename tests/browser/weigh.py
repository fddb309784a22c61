"""How much a page of many pictures weighs, and how soon it shows the first.

`python tests/browser/weigh.py` prints the table of `docs/report.md`: pages of drawn scenes of
640x512 pixels with stripes and noise, written and opened in a headless Chromium.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
from conftest import ARGUMENTS  # the folder's own: this file is run, not imported

from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.jobs.page.pack import Packed, Shown, pack
from deal_cli.jobs.page.page import About, ReportWriter

SCENES = 6  # drawn and packed once, and shown again and again
COUNTS = (3, 300)
Dtype = Literal["uint8", "uint16"]


def pictures(dtype: Dtype) -> Iterator[Packed]:
    """Scenes with stripes and noise of a fortieth and an eightieth of their range, and without."""
    for seed in range(SCENES):
        rng, clean = np.random.default_rng(seed), draw_scene(seed, dtype=dtype).values
        span = np.float32(255 if dtype == "uint8" else 2500)
        noise = rng.normal(0, span / 80, clean.shape) + rng.normal(0, span / 40, clean.shape[1])
        before = np.clip(np.rint(clean + noise), 0, np.iinfo(dtype).max).astype(np.float32)
        unit = "grey levels" if dtype == "uint8" else "counts"
        yield pack(Shown(f"flight/{seed}.png", before, clean, unit, (("mean shift", "+0.01"),)))


def opened(page: Path, executable: str) -> tuple[float, float]:
    """Seconds until the first picture is drawn, and until the page is all loaded."""
    from playwright.sync_api import sync_playwright

    root = ("--no-sandbox",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=[*ARGUMENTS, *root])
        window = launched.new_page()
        started = time.perf_counter()
        window.goto(page.as_uri(), wait_until="commit", timeout=120_000)
        # The page's policy lets nothing wait in it, so it is asked from outside.
        while not window.evaluate("() => window.deal?.state().decoded > 0"):
            time.sleep(0.02)
        first = time.perf_counter() - started
        window.wait_for_load_state("load", timeout=120_000)
        loaded = time.perf_counter() - started
        launched.close()
    return first, loaded


def main(executable: str) -> None:
    """Print a line for each page."""
    print("| pictures | bits | page | beside it | first picture | loaded |")
    print("|---:|---:|---:|---:|---:|---:|")
    dtypes: tuple[Dtype, ...] = ("uint8", "uint16")
    for dtype, (count, split) in product(dtypes, product(COUNTS, (False, True))):
        if split and count == COUNTS[0]:
            continue
        packed = list(pictures(dtype))
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "page.html"
            with ReportWriter(page, split=split) as writer:
                for at in range(count):
                    writer.add(packed[at % SCENES])
                size = writer.close(About("Weighed", "now", ()))
            first, loaded = opened(page, executable)
        beside = f"{size.beside / 1e6:.0f} MB" if size.beside else "–"
        bits = np.dtype(dtype).itemsize * 8
        told = f"| {count} | {bits} | {size.page / 1e6:.1f} MB | {beside} | {first:.1f} s |"
        print(f"{told} {loaded:.1f} s |")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "/usr/bin/chromium")
