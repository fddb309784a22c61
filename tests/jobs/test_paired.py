"""The plain network is the published one, and all are timed in turn, each on fresh pictures."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import nn

from deal_cli.jobs import paired
from deal_cli.model.network import Enhancer


def test_the_plain_network_computes_what_the_collapsed_one_does() -> None:
    torch.manual_seed(0)
    plain = paired.plain_network()
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    collapsed = Enhancer(plain.config).eval()
    collapsed.load_state_dict(plain.state_dict())
    x = torch.rand(1, 3, 48, 64)
    with torch.inference_mode():
        difference = (plain(x) - collapsed(x)).abs()
        correction = (plain(x) - x).abs()
    assert correction.mean() > 0.01
    # A spike on the other side of a rounding moves a pixel; never many.
    assert difference.quantile(0.99) < 1e-4


def test_every_run_gets_a_fresh_picture_in_every_round_and_the_ratio_is_of_rounds() -> None:
    fed: dict[str, list[float]] = {paired.PLAIN: [], "other": []}
    runs = {name: lambda x, name=name: fed[name].append(float(x.mean())) for name in fed}
    taken = paired.time_in_turn(runs, 3, (16, 32))
    assert [len(seconds) for seconds in taken.values()] == [3, 3]
    pictures = fed[paired.PLAIN] + fed["other"]
    assert len(pictures) == len(set(pictures)) == 8
    assert np.all((np.array(pictures) > 0) & (np.array(pictures) < 1))

    text = paired.table({paired.PLAIN: [1.0, 8.0, 4.0], "other": [0.5, 1.0, 1.0]})
    figures = re.findall(r"[\d.]+", text.splitlines()[-1])
    assert figures == ["1000", "500", "1000", "1", "4.0"]  # of 2, 8 and 4; not of 4 by 1
