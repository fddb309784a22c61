"""The plain network is the published one, and all are timed in turn, each on fresh pictures."""

from __future__ import annotations

import multiprocessing
import re
import time
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from deal_cli.jobs.experiments import paired
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


def test_every_run_gets_fresh_pictures_in_every_round_and_the_ratio_is_of_rounds() -> None:
    fed: dict[str, list[float]] = {paired.PLAIN: [], "other": []}

    def run(name: str, *pair: paired.Picture) -> float:
        fed[name] += [float(x.mean()) for x in pair]
        return float(len(fed[name]))

    taken = paired.time_in_turn({name: partial(run, name) for name in fed}, 3, (16, 32))
    assert taken == {paired.PLAIN: [4.0, 6.0, 8.0], "other": [4.0, 6.0, 8.0]}
    pictures = fed[paired.PLAIN] + fed["other"]
    assert len(pictures) == len(set(pictures)) == 16
    assert np.all((np.array(pictures) > 0) & (np.array(pictures) < 1))


def test_a_process_times_the_second_of_two_pictures_until_it_is_told_to_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[float] = []

    def run(x: paired.Picture) -> None:
        seen.append(float(x.mean()))
        time.sleep(0.2 if len(seen) == 1 else 0.01)

    monkeypatch.setattr(paired, "open_run", lambda *_: ("a name", run))
    here, there = multiprocessing.Pipe()
    here.send((np.zeros((1, 1, 4, 4), np.float32), np.ones((1, 1, 4, 4), np.float32)))
    here.send(None)
    paired.serve("deal", "cpu", there)
    assert here.recv() == "a name"
    assert 0.01 <= here.recv() < 0.15
    assert seen == [0.0, 1.0]


def test_the_table_gives_medians_and_the_median_of_the_ratios() -> None:
    text = paired.table({paired.PLAIN: [1.0, 8.0, 4.0], "other": [0.5, 1.0, 1.0]})
    figures = re.findall(r"[\d.]+", text.splitlines()[-1])
    assert figures == ["1000", "500", "1000", "1", "4.0"]  # of 2, 8 and 4; not of 4 by 1
