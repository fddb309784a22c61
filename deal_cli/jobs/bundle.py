"""Put a run's best weights into `weights/`: enhancer, ONNX form, tone, generator, checksums.

For those who publish weights: `python -m deal_cli.jobs.bundle runs/deal weights`, and for a second
enhancer beside it `python -m deal_cli.jobs.bundle --alone runs/fast weights deal-fast`, which keeps
tone predictor and generator.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path


def bundle(run: Path, folder: Path, name: str = "deal", *, alone: bool = False) -> None:
    """Copy `run/best` into a weights folder as `name`, export it, and rewrite the checksums.

    Raises:
        WeightsError: the run's weights are not usable.
        VerificationError: their ONNX form does not restore as they do; nothing is written.
    """
    from deal_cli.jobs.export import verified_graph
    from deal_cli.model.onnx_graph import Form
    from deal_cli.model.weights import GENERATOR, TONE, load_enhancer

    best = run / "best"
    weights = load_enhancer(str(best / "enhancer.safetensors"))
    graph, _ = verified_graph(weights, Form())
    shutil.copyfile(weights.file.path, folder / f"{name}.safetensors")
    (folder / f"{name}.onnx").write_bytes(graph)
    for part in () if alone else (TONE, GENERATOR):
        if (best / f"{part}.safetensors").is_file():
            shutil.copyfile(best / f"{part}.safetensors", folder / f"{part}.safetensors")
    write_checksums(folder)


def write_checksums(folder: Path) -> None:
    """Rewrite the list of checksums of a weights folder."""
    from deal_cli.model.weights import CHECKSUMS

    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.onnx")])
    lines = (f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}" for file in files)
    (folder / CHECKSUMS).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--alone"]
    bundle(Path(arguments[0]), Path(arguments[1]), *arguments[2:], alone="--alone" in sys.argv)
