"""What lies beside a degraded picture: all it takes to make the same pixels again, as JSON.

Sidecars travel with data sets and may come from anybody, so nothing in one is believed: every
name, number and size is checked before anything is done with it.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import deal_cli
from deal_cli.errors import UsageError
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.whole import written_whole
from deal_cli.mapping import from_mapping

if TYPE_CHECKING:
    from deal_cli.model.sampler import Recipe, Step

FORMAT = "deal-degradation/1"
LARGEST = 2**20  # bytes
MOST_STEPS = 64
SCENE_EDGES = (32, 8192)  # pixels
SCENE_PIXELS = 2**24

T = TypeVar("T")

_REMEDY = "give --replay a file that `deal degrade` wrote"


@dataclass(frozen=True)
class Scene:
    """A drawn scene (`deal_cli.imaging.drawn.scenes`)."""

    seed: int
    height: int = 512
    width: int = 640
    dtype: Literal["uint8", "uint16"] = "uint8"

    def draw(self) -> Frame:
        return draw_scene(self.seed, self.height, self.width, self.dtype)


@dataclass(frozen=True)
class Sidecar:
    """How a degraded picture was made.

    Attributes:
        source: the file or scene that was degraded.
        dtype: of its pixels.
        range: the source values that became 0 and 1.
        severity: share of the whole attack, which the steps' severities contain already.
        seed: that was given.
        weights_sha256: of the generator that chose.
        recipe: what was applied.
        version: of the program.
    """

    source: Path | Scene
    dtype: str
    range: tuple[float, float]
    severity: float
    seed: int
    weights_sha256: str
    recipe: Recipe
    version: str = deal_cli.__version__

    def write(self, path: Path) -> None:
        """Write it whole; its input is named as seen from its own folder.

        Raises:
            OutputError: the system refuses.
        """
        if isinstance(self.source, Scene):
            origin: dict[str, Any] = {"scene": asdict(self.source)}
            del origin["scene"]["dtype"]
        else:
            origin = {"input": _seen_from(path.parent, self.source)}
        table = {
            "format": FORMAT,
            "version": self.version,
            **origin,
            "dtype": self.dtype,
            "range": self.range,
            "severity": self.severity,
            "seed": self.seed,
            "weights_sha256": self.weights_sha256,
            "steps": json.loads(self.recipe.to_json()),
        }
        with written_whole(path) as stream:
            stream.write((json.dumps(table, indent=2) + "\n").encode())


@dataclass(frozen=True)
class _Table:
    """The plain part of a sidecar."""

    format: str
    version: str
    dtype: str
    range: tuple[float, float]
    severity: float
    seed: int
    weights_sha256: str


def read_sidecar(path: Path) -> Sidecar:
    """The sidecar in a file.

    Raises:
        UsageError: it cannot be read, is none, or says what cannot be.
    """
    table = _load(path)
    if table.get("format") != FORMAT:
        raise UsageError("is no sidecar of a degraded picture", file=path, remedy=_REMEDY)
    origins = {key: table.pop(key) for key in ("input", "scene") if key in table}
    steps = table.pop("steps", None)
    try:
        plain = _filled(_Table, table, path)
        low, high = plain.range
        _demand(low <= high, "its range is upside down")
        _demand(0 <= plain.severity <= 1, "its severity is not from 0 to 1")
        _demand(plain.seed >= 0, "its seed is below 0")
        _demand(bool(re.fullmatch(r"[0-9a-f]{64}", plain.weights_sha256)), "names no weights")
        _demand(len(origins) == 1, "names neither one input nor one scene")
        if "scene" in origins:
            source: Path | Scene = _scene(origins["scene"], plain.dtype, path)
        else:
            name = origins["input"]
            _demand(isinstance(name, str) and bool(name) and "\0" not in name, "names no input")
            source = Path(os.path.normpath(path.parent.resolve() / name))
        recipe = _recipe(steps, path)
    except ValueError as error:
        raise UsageError(str(error), file=path, remedy=_REMEDY) from error
    return Sidecar(
        source,
        plain.dtype,
        plain.range,
        plain.severity,
        plain.seed,
        plain.weights_sha256,
        recipe,
        plain.version,
    )


def _load(path: Path) -> dict[str, Any]:
    """A JSON object without infinite numbers, NaN or endless ones.

    Raises:
        UsageError: there is none.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            raise UsageError("is no file", file=path, remedy=_REMEDY)
        with path.open("rb") as stream:
            data = stream.read(LARGEST + 1)
        _demand(len(data) <= LARGEST, "is too large")
        table = json.loads(
            data, parse_constant=_finite, parse_float=_finite, parse_int=_short_integer
        )
        _demand(isinstance(table, dict), "is no table")
    except OSError as error:
        cause = f"cannot be read ({error.strerror})"
        raise UsageError(cause, file=path, remedy=_REMEDY) from error
    except (ValueError, RecursionError) as error:
        cause = f"is damaged, or no sidecar ({str(error)[:80]})"
        raise UsageError(cause, file=path, remedy=_REMEDY) from error
    checked: dict[str, Any] = table
    return checked


def _scene(table: object, dtype: str, path: Path) -> Scene:
    """The scene of a sidecar; anything else is a ValueError."""
    _demand(isinstance(table, Mapping) and "dtype" not in table, "its scene is no table")
    assert isinstance(table, Mapping)
    scene = _filled(Scene, {**table, "dtype": dtype}, path)
    least, most = SCENE_EDGES
    _demand(scene.seed >= 0, "its scene's seed is below 0")
    _demand(all(least <= e <= most for e in (scene.height, scene.width)), "its scene has no size")
    _demand(scene.height * scene.width <= SCENE_PIXELS, "its scene is too large")
    return scene


def _recipe(steps: object, path: Path) -> Recipe:
    """The recipe of a sidecar; what is out of an operation's bounds is a ValueError."""
    from deal_cli.model.sampler import Recipe

    _demand(isinstance(steps, list) and len(steps) <= MOST_STEPS, "its steps are no list")
    assert isinstance(steps, list)
    return Recipe(tuple(_step(step, path) for step in steps))


def _step(table: object, path: Path) -> Step:
    from deal_cli.model.degradations import OPERATIONS
    from deal_cli.model.sampler import Step, check_operations

    _demand(isinstance(table, Mapping), "a step is no table")
    assert isinstance(table, Mapping)
    step = _filled(Step, table, path)
    name = step.draw.operation
    try:
        check_operations([name[:60]])
    except UsageError as error:
        raise UsageError(error.cause, file=path, remedy=error.remedy) from error
    ranges = OPERATIONS[name].parameters
    _demand(set(step.draw.parameters) == set(ranges), f"the parameters of '{name}' are not its own")
    for key, value in step.draw.parameters.items():
        low, high = ranges[key]
        _demand(low <= value <= high, f"'{key}' of '{name}' is not from {low:g} to {high:g}")
    _demand(0 <= step.severity <= 1, f"the severity of '{name}' is not from 0 to 1")
    _demand(step.draw.seed >= 0, f"the seed of '{name}' is below 0")
    return step


def _filled(cls: type[T], table: Mapping[str, Any], path: Path) -> T:
    """A dataclass filled from a table; a key that is missing is a ValueError.

    Raises:
        UsageError: a key is unknown, or a value does not fit.
    """
    for field in fields(cls):  # type: ignore[arg-type]
        needed = field.default is MISSING and field.default_factory is MISSING
        _demand(field.name in table or not needed, f"'{field.name}' is missing")
    return from_mapping(cls, table, where=str(path))


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _finite(text: str) -> float:
    """A number as JSON has it; NaN and infinities are a ValueError."""
    value = float(text)
    _demand(math.isfinite(value), f"a number is {text[:20]}")
    return value


def _short_integer(text: str) -> int:
    """A whole number of sane length; longer ones are a ValueError."""
    _demand(len(text) <= 20, "a number is too long")
    return int(text)


def _seen_from(folder: Path, file: Path) -> str:
    """The path of a file from a folder, or its whole path where no way leads there."""
    whole = file.parent.resolve() / file.name
    try:
        return Path(os.path.relpath(whole, folder.resolve())).as_posix()
    except ValueError:  # on another drive
        return whole.as_posix()
