"""Put a run's best weights into `weights/`: enhancer, its ONNX forms, tone, generator, checksums.

For those who publish weights: `python -m deal_cli.jobs.weights.bundle runs/deal weights`, and for a
further enhancer `python -m deal_cli.jobs.weights.bundle runs/fast weights --name deal-fast`, which
keeps the tone predictor that is there. The generator that is there stays, unless `--generator`
takes the run's: a training without an adversary leaves one that has learnt nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from pathlib import Path

DEFAULT = "deal"


def bundle(run: Path, folder: Path, name: str = DEFAULT, *, generator: bool = False) -> None:
    """Copy `run/best` into a weights folder as `name`, export it, and rewrite the checksums.

    Args:
        run: the folder of a training.
        folder: the weights folder.
        name: of the enhancer; the tone predictor is taken from the default's run alone.
        generator: take the run's N_G as well.

    Raises:
        WeightsError: the run's weights are not usable.
        VerificationError: their ONNX form does not restore as they do; nothing is written.
    """
    from deal_cli.jobs.weights.export import verified_graph
    from deal_cli.model.onnx_graph import SUFFIXES, Form
    from deal_cli.model.weights import GENERATOR, TONE, load_enhancer

    best = run / "best"
    weights = load_enhancer(str(best / "enhancer.safetensors"))
    graphs = {suffix: verified_graph(weights, Form(form))[0] for form, suffix in SUFFIXES.items()}
    shutil.copyfile(weights.file.path, folder / f"{name}.safetensors")
    for suffix, graph in graphs.items():
        (folder / f"{name}{suffix}").write_bytes(graph)
    for part in [TONE] * (name == DEFAULT) + [GENERATOR] * generator:
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
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", default=DEFAULT)
    parser.add_argument("--generator", action="store_true")
    bundle(**vars(parser.parse_args()))
