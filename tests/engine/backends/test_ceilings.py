"""What a machine can do at best, on pieces small enough for a test."""

from __future__ import annotations

import time

import pytest
import torch

from deal_cli.engine.backends import ceilings, hardware
from deal_cli.engine.backends.ceilings import Ceilings, measure_ceilings

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "MATRIX", {"cpu": 64})
    monkeypatch.setattr(ceilings, "CONVOLUTION", {"cpu": (1, 32, 8)})
    monkeypatch.setattr(ceilings, "COPY", {"cpu": 2**16})
    monkeypatch.setattr(ceilings, "SECONDS", 0.01)


def test_the_best_is_the_faster_of_the_two() -> None:
    made = Ceilings({"float32": 3e9, "bfloat16": 5e9}, {"float32": 4e9, "bfloat16": 2e9}, 7e9)
    assert (made.best("float32"), made.best("bfloat16")) == (4e9, 5e9)
    assert made.best("float16") is None
    assert str(made) == (
        "float32 3 GMAC/s in matrices and 4 in convolutions,"
        " bfloat16 5 GMAC/s in matrices and 2 in convolutions, 7 GB/s copied"
    )


def test_a_rate_is_units_by_the_median_of_seconds() -> None:
    rate = ceilings._rate(lambda: time.sleep(0.004), 1000, CPU)
    assert 1000 / 0.04 < rate <= 1000 / 0.004


@pytest.mark.parametrize("bfloat16", [False, True])
def test_lower_precision_is_measured_where_hardware_has_it(
    bfloat16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "has_bfloat16", lambda: bfloat16)
    threads = torch.get_num_threads()
    made = measure_ceilings(CPU)
    assert list(made.matrix) == list(made.convolution)
    assert list(made.matrix) == ["float32", "bfloat16"][: 1 + bfloat16]
    assert min(*made.matrix.values(), *made.convolution.values(), made.copy) > 1e6
    assert torch.get_num_threads() == threads


@pytest.mark.gpu
def test_a_gpu_is_measured_on_its_own_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    made = measure_ceilings(torch.device("cuda", 0))
    assert min(*made.matrix.values(), made.copy) > 1e10
