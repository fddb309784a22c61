"""The harnesses beside these tests are modules of their own, run by hand as well."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _small_tensors(one_thread: None) -> None:
    """Every test here computes on one thread."""


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weight files that must be refused, by what is wrong with them."""
    import hostile_weights

    return hostile_weights.make(tmp_path_factory.mktemp("hostile"))
