"""Both players of a training and their optimisers: new, or from weights."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deal_cli.config import TrainConfig
from deal_cli.engine.backends.torch_backend import placed
from deal_cli.errors import WeightsError

if TYPE_CHECKING:
    import torch

    from deal_cli.model.generator import Generator
    from deal_cli.model.network import Enhancer

# The last convolution learns slower: its first steps shift whole pictures, and the quickest way to
# less loss is then to do nothing at all.
HEAD_RATE = 0.5


@dataclass
class State:
    """Everything that changes during a run.

    Attributes:
        network: N_E, the newest weights.
        ema: their exponential moving average, which is what is kept.
        optimiser: of N_E.
        generator: N_G.
        ascent: the optimiser of N_G.
        init: the name or file of the weights it began from; empty when it began anew.
        step: steps of N_E done.
        best_score: highest validation score so far.
        new_gauge: whether the network has a gauge that has not learnt anything yet.
    """

    network: Enhancer
    ema: Enhancer
    optimiser: torch.optim.AdamW
    generator: Generator
    ascent: torch.optim.Adam
    init: str = ""
    step: int = 0
    best_score: float = -math.inf
    new_gauge: bool = False

    def set_rate(self, config: TrainConfig) -> None:
        """Give N_E's optimiser the learning rate of the next step."""
        peak = config.fine_tuning_rate if self.init else config.learning_rate
        rate = peak * schedule(self.step / config.steps, config.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["rate_factor"]

    def update_ema(self, decay: float) -> None:
        """Move the averaged weights towards the newest; a short memory at first."""
        import torch

        decay = min(decay, (1 + self.step) / (10 + self.step))
        newest = self.network.state_dict()
        with torch.no_grad():
            for key, value in self.ema.state_dict().items():
                if value.dtype.is_floating_point:
                    value.lerp_(newest[key], 1 - decay)
                else:
                    value.copy_(newest[key])


def schedule(progress: float, warmup: float) -> float:
    """Share of the peak learning rate at a share of the steps: a linear rise, then a cosine."""
    if progress < warmup:
        return (progress + 1e-3) / (warmup + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def first_state(config: TrainConfig, init: str | None, device: torch.device) -> tuple[State, str]:
    """The state before the first step, and where its weights are from, in words.

    Raises:
        WeightsError: the weights to start from are not usable.
    """
    import torch

    from deal_cli.model.forms import grown
    from deal_cli.model.generator import Generator
    from deal_cli.model.network import Enhancer
    from deal_cli.model.weights import GENERATOR, beside, load_enhancer, load_generator

    torch.manual_seed(config.seed)
    network, generator = Enhancer(config.network), Generator(config.generator)
    start, new_gauge = "fresh weights", network.gauge is not None
    if init is not None:
        weights = load_enhancer(init)
        network, start = weights.network(), f"the weights {init}"
        if weights.config != config.network:
            try:
                network = grown(network, config.network)
            except ValueError as error:
                remedy = "set [network] in --config as the file has it, or give --init none"
                cause = "is of another architecture"
                raise WeightsError(cause, file=weights.file.path, remedy=remedy) from error
            start = f"{start}, grown to [network]"
        new_gauge = bool(config.network.gauge) and not weights.config.gauge
        found = None if config.adversary.fresh else beside(weights.file.path, GENERATOR)
        if found is not None:
            given = load_generator(str(found.path))
            if given.config == config.generator:
                generator, start = given, f"{start}, and the generator beside them"
    network = placed(network, device, torch.float32)
    ends = [network.head[2]] + ([] if network.fine is None else [network.fine.last])
    last = {id(p) for end in ends for p in end.parameters()}
    groups = [
        {"params": [p for p in network.parameters() if id(p) not in last], "rate_factor": 1.0},
        {"params": [p for p in network.parameters() if id(p) in last], "rate_factor": HEAD_RATE},
    ]
    optimiser = torch.optim.AdamW(groups, config.learning_rate, weight_decay=config.weight_decay)
    generator = generator.to(device).train()
    ascent = torch.optim.Adam(generator.parameters(), config.adversary.learning_rate)
    state = State(network, copy.deepcopy(network), optimiser, generator, ascent, init or "")
    state.new_gauge = new_gauge
    return state, start
