"""Every bundled weight file against what it made of the same pictures when it was bundled.

A changed weight cannot slip in unseen: who changes one writes these pictures anew, on purpose, with
`python tests/test_golden.py`, and looks at them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from deal_cli.config import ToneConfig, TrainConfig
from deal_cli.engine.backends.choice import Request
from deal_cli.engine.restorer import Settings, open_restorer
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import read_frame, write_frame
from deal_cli.imaging.frame import Frame
from deal_cli.mapping import from_mapping, load_toml
from deal_cli.model.onnx_graph import SUFFIXES
from deal_cli.model.weights import (
    GENERATOR,
    TONE,
    bundled_checksums,
    find,
    load_enhancer,
    load_generator,
    load_tone,
    weights_folder,
)

GOLDEN = Path(__file__).parent / "golden"
SEEN = GOLDEN / "degraded.png"
SIZE = (128, 160)
# Grey levels; single pixels differ by one where a processor adds in another order and spikes flip.
MOST_LEVELS = 3
MEAN_LEVELS = {"float32": 0.02, "float16": 0.1, "bfloat16": 0.4}
RELATIVE = 1e-3  # of what generator and tone predictor say

Values = NDArray[np.float32]


def degraded() -> Values:
    """A drawn scene, softened, striped and noisy, in grey levels."""
    import cv2

    scene = cv2.GaussianBlur(draw_scene(3, *SIZE).values, (0, 0), 0.8)
    rng = np.random.default_rng(3)
    seen = scene + rng.normal(0, 6, (1, SIZE[1])) + rng.normal(0, 4, SIZE)
    return np.clip(np.rint(seen), 0, 255).astype(np.float32)


def restored(weights: str, backend: str) -> tuple[Values, str]:
    """What weights make of the degraded picture, in grey levels, and in which precision."""
    restorer, _ = open_restorer(Request(backend, weights), Settings(tone="keep"))
    frame = restorer.restore(read_frame(SEEN)).frame
    levels = np.clip(np.rint(frame.values), 0, 255).astype(np.float32)
    return levels, restorer.backend.facts.precision


@pytest.mark.parametrize("name", ["deal", "deal-fast", "paper"])
def test_bundled_weights_are_of_the_recipe_beside_them(name: str) -> None:
    recipe = load_toml(TrainConfig, weights_folder() / f"{name}.toml")
    made = from_mapping(TrainConfig, load_enhancer(name).training["config"], where="")
    # A tone predictor is trained after an enhancer, and is a file of its own.
    assert replace(made, tone=ToneConfig()) == replace(recipe, tone=ToneConfig())


def told(name: str) -> dict[str, list[float]]:
    """What the generator or the tone predictor says of the degraded picture."""
    import torch

    seen = read_frame(SEEN).values
    if name == TONE:
        tone = load_tone(find("deal").path).predict(seen, 0.0, 255.0)
        return {"tone": [tone.gain, tone.offset, tone.gamma, tone.pivot]}
    with torch.inference_mode():
        policy = load_generator(GENERATOR)(torch.from_numpy(seen[None, None] / 255))
    return {"logits": policy.logits.flatten().tolist()}


def picture(file: str) -> Path:
    """Where the golden picture of a weight file is; graphs share the one of their weights."""
    return GOLDEN / f"{file.partition('.')[0]}.png"


def enhancers() -> list[str]:
    return [n for n in bundled_checksums() if n.partition(".")[0] not in (GENERATOR, TONE)]


def test_the_picture_that_is_restored_is_still_the_one_that_was_drawn() -> None:
    np.testing.assert_array_equal(read_frame(SEEN).values, degraded())


def test_every_bundled_file_has_something_golden_and_nothing_else_has() -> None:
    stems = {file.partition(".")[0] for file in bundled_checksums()}
    assert {path.stem for path in GOLDEN.iterdir()} == stems | {SEEN.stem}


@pytest.mark.parametrize("file", enhancers())
def test_an_enhancer_restores_as_it_did_when_it_was_bundled(file: str) -> None:
    backend = "onnx" if file.endswith(".onnx") else "cpu"
    levels, precision = restored(str(weights_folder() / file), backend)
    error = np.abs(levels - golden(file))
    assert error.mean() <= MEAN_LEVELS[precision]
    assert error.max() <= MOST_LEVELS


@pytest.mark.parametrize("name", [GENERATOR, TONE])
def test_generator_and_tone_predictor_say_what_they_said_when_bundled(name: str) -> None:
    stated = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    for key, values in told(name).items():
        np.testing.assert_allclose(values, stated[key], rtol=RELATIVE, atol=RELATIVE)


def test_weights_a_hundredth_off_are_noticed(tmp_path: Path) -> None:
    """The tolerance is no hole: a change that nobody would see by eye fails."""
    from deal_cli.model.weights import load_enhancer, save_enhancer

    weights = load_enhancer("deal-fast")
    tensors = {name: tensor * 1.01 for name, tensor in weights.tensors.items()}
    save_enhancer(tmp_path / "off.safetensors", tensors, weights.config, {})
    levels, _ = restored(str(tmp_path / "off.safetensors"), "cpu")
    assert np.abs(levels - golden("deal-fast")).mean() > MEAN_LEVELS["float32"]


def golden(file: str) -> Values:
    return read_frame(picture(file)).values


def write() -> None:
    """Write everything anew."""
    GOLDEN.mkdir(exist_ok=True)
    write_frame(Frame(degraded(), np.dtype(np.uint8)), SEEN)
    for file in enhancers():
        if SUFFIXES["float16"] not in file and file.endswith(SUFFIXES["float32"]):
            # As a graph, which is in float32 on a processor that has bfloat16 too.
            levels, _ = restored(str(weights_folder() / file), "onnx")
            write_frame(Frame(levels, np.dtype(np.uint8)), picture(file))
    for name in (GENERATOR, TONE):
        (GOLDEN / f"{name}.json").write_text(json.dumps(told(name)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
