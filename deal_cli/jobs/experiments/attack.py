"""The worst case: enhancers under attacks that were learnt on each of them, white box and transfer.

A fresh N_G ascends through a finished enhancer that stands still, and what it has learnt to choose
is tried on every enhancer at its full severity. `python -m deal_cli.jobs.experiments.attack deal
deal-fast paper --data train50 --clean val20 test14` writes the table of docs/benchmarks.md.

Transfer of attacks: Papernot et al. 2016, arXiv 1605.07277.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deal_cli.config import TrainConfig
from deal_cli.jobs.protocol.benchmark_page import commit_of, describe_machine, write_section

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deal_cli.model.generator import Generator
    from deal_cli.model.network import Enhancer

ASCENT_STEPS = 250
CROP, ATTACKS = 128, 8  # edge of the pictures that are attacked, in pixels; attacks on each
PAGE = Path("docs/benchmarks.md")
ABOUT = f"""## Under attack

Mean PSNR in dB, as it is, of weights under attacks of N_G at its full severity.
A fresh N_G learns for {ASCENT_STEPS} steps on each weights, which stand still, and attacks all of
them: its own (white box) and the others (transfer), {ATTACKS} times in the middle {CROP} pixels of
each picture. N_G learns on the network alone; what is scored is restored as files are."""


def attack_table(
    weights: Sequence[str], config: TrainConfig, data: Path, clean: Sequence[Path]
) -> list[list[float]]:
    """Mean PSNR in dB of each enhancer (rows) under an attack learnt on each (columns).

    The last row is that of the attacked pictures themselves, restored by nothing.

    Args:
        weights: bundled names or files.
        config: whose generator and adversary are used.
        data: folder of the clean pictures that an attack is learnt on.
        clean: folders of the pictures that it is tried on, ten of each, their middles.

    Raises:
        WeightsError: weights are not usable.
        PictureError: a picture cannot be read.
    """
    from deal_cli.model.weights import load_enhancer

    enhancers = [load_enhancer(name).network() for name in weights]
    generators = [_attack_on(enhancer, config, data, clean[0]) for enhancer in enhancers]
    crops = _middles(clean)
    return [
        [_psnr_under(enhancer, generator, crops) for generator in generators]
        for enhancer in (*enhancers, None)
    ]


def transfer_table(names: Sequence[str], table: Sequence[Sequence[float]]) -> str:
    """Enhancers down, and nothing below them; attacks across."""
    lines = [
        f"| enhancer | {' | '.join(f'attack on *{name}*' for name in names)} | worst |",
        f"|---{'|---:' * (len(names) + 1)}|",
    ]
    for name, row in zip([*names, "nothing"], table, strict=True):
        cells = [*(f"{value:.2f}" for value in row), f"{min(row):.2f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _attack_on(enhancer: Enhancer, config: TrainConfig, data: Path, val: Path) -> Generator:
    """A fresh N_G after some steps of ascent through a finished enhancer."""
    import torch

    from deal_cli.jobs.train.dataset import build_pyramid, load_dataset
    from deal_cli.jobs.train.game import Game, inner_maximisation
    from deal_cli.jobs.train.state import first_state

    config = replace(config, network=enhancer.config)
    dataset = load_dataset(data, val, config)
    pyramids = [build_pyramid(picture, config.crop) for picture in dataset.training]
    game = Game(config, pyramids, torch.device("cpu"))
    # A fresh N_G is the same for every enhancer, which alone comes from its file.
    state, _ = first_state(config, None, game.device)
    state.network.load_state_dict(enhancer.state_dict())
    for step in range(ASCENT_STEPS):
        state.step = step
        inner_maximisation(game, state)
    return state.generator


def _psnr_under(
    enhancer: Enhancer | None, generator: Generator, crops: NDArray[np.float32]
) -> float:
    """Mean PSNR in dB of attacked crops of 8 bits, restored as `deal restore --tone keep` does."""
    import torch

    from deal_cli.engine.backends.torch_backend import TorchBackend
    from deal_cli.engine.restorer import Restorer, Settings
    from deal_cli.imaging.frame import Frame
    from deal_cli.model.generator import attack

    clean, made = torch.from_numpy(crops), []
    with torch.inference_mode():
        for turn in range(ATTACKS):
            policy = generator(clean)
            attacked = attack(clean, policy, policy.sample(np.random.default_rng(turn))).attacked
            made.append((attacked * 255).round().numpy())
    restored = np.stack(made)  # (attacks, crops, 1, H, W)
    if enhancer is not None:
        backend = TorchBackend(enhancer, torch.device("cpu"), "attacked", "")
        restorer = Restorer(backend, Settings(tone="keep"))
        for picture in restored.reshape(-1, CROP, CROP):  # a view: each is put in its place
            picture[:] = restorer.restore(Frame(picture, np.dtype(np.uint8))).frame.values
    error = np.square(restored / np.float32(255) - crops).mean((2, 3, 4))
    return float(-10 * np.log10(np.maximum(error, 1e-7)).mean())


def _middles(folders: Iterable[Path]) -> NDArray[np.float32]:
    """The middles of the evaluation's pictures, `(B, 1, H, W)` in [0, 1]."""
    from deal_cli.imaging.files import read_frame
    from deal_cli.jobs.protocol.cases import PER_SET, centre_crop, select_pictures

    crops = [
        centre_crop(read_frame(path).values, CROP) / np.float32(255)
        for folder in folders
        for path in select_pictures(folder, PER_SET)
    ]
    return np.stack(crops, dtype=np.float32)[:, None]


def main(arguments: Sequence[str] | None = None) -> None:
    """Attack every enhancer that is named, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("weights", nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--clean", type=Path, nargs="+", required=True)
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args(arguments)
    table = attack_table(given.weights, TrainConfig(), given.data, given.clean)
    command = f"python -m deal_cli.jobs.experiments.attack {' '.join(given.weights)}"
    command += f" --data {given.data.name}"
    command += f" --clean {' '.join(folder.name for folder in given.clean)}"
    origin = f"- Machine: {describe_machine()}\n- Commit: `{commit_of(Path())}`"
    page = f"{ABOUT}\n\n{transfer_table(given.weights, table)}\n\n{origin}"
    write_section(given.page, "attacks", f"{page}\n- Command: `{command}`")


if __name__ == "__main__":
    main()
