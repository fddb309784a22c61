"""Frame in, degraded Frame out: what N_G does to a picture, in the picture's own numbers.

The change that the operations make in [0, 1] is added to the source in the source's own numbers,
as the restorer adds its correction,

    out = source + span * (d(n) - n),   n = clip((source - low) / span, 0, 1),

so sixteen bits stay sixteen bits and severity 0 is the identity.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deal_cli.engine.backends import hardware
from deal_cli.engine.ranges import measure_range
from deal_cli.errors import PictureError, UsageError, WeightsError
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.gaps import fill_gaps, keep_off_nodata
from deal_cli.imaging.tiling import bands

if TYPE_CHECKING:
    import torch

    from deal_cli.model.degradations import Draw
    from deal_cli.model.generator import Choices, Generator, Policy
    from deal_cli.model.sampler import Recipe

#: Lost contrast, which N_G does not choose: it is not the enhancer's to restore.
TONE = "tone"

VIEW = 256  # pixels of the short edge of what N_G looks at, about what it was trained on
LONGEST_JPEG = 65_500  # pixels of an edge

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Degraded:
    """A degraded picture and what was done to it.

    Attributes:
        frame: the result, in the source's own numbers, dtype and metadata.
        range: the source values that became 0 and 1.
        recipe: what was applied, from first to last.
        psnr: of the result against the source in dB, on that range; infinite where nothing changed.
    """

    frame: Frame
    range: tuple[float, float]
    recipe: Recipe
    psnr: float


@dataclass(frozen=True, eq=False)
class _Work:
    """One picture on its way; `unit` is `(source - low) / span`, clipped to [0, 1]."""

    frame: Frame
    source: Values
    gaps: NDArray[np.bool_] | None
    range: tuple[float, float]
    unit: Values | None  # None where all pixels have one value: there is no span

    @property
    def span(self) -> np.float32:
        return np.float32(self.range[1] - self.range[0])


class Degrader:
    """Degrades Frames with operations that N_G chooses, or with a recipe.

    `device` is where the operations run. N_G itself runs on the processor, so that what it
    chooses does not depend on the device. Without a `generator` recipes alone can be replayed.
    """

    def __init__(self, device: torch.device, generator: Generator | None = None) -> None:
        self._device = device
        self._generator = generator

    def check_operations(self, operations: Collection[str]) -> None:
        """Make sure that all of `operations` can be drawn.

        Raises:
            UsageError: one is unknown; the nearest known one is named.
        """
        from deal_cli.model.sampler import check_operations

        check_operations(operations)
        known = {TONE, *(self._generator.config.operations if self._generator else ())}
        for name in operations:
            if name not in known:
                raise UsageError(
                    f"the generator does not choose '{name}'",
                    remedy=f"--ops takes {', '.join(sorted(known))}",
                )

    def degrade(
        self,
        frame: Frame,
        rng: np.random.Generator,
        severity: float,
        operations: Collection[str] | None = None,
    ) -> Degraded:
        """The picture as N_G degrades it.

        Args:
            frame: what to degrade; NaN, infinite and nodata pixels stay as and where they are.
            rng: of all that is drawn.
            severity: share of every operation's severity that is applied, 0 to 1.
            operations: what may be chosen, `TONE` always; None leaves it to N_G.

        Raises:
            PictureError: the picture does not fit into memory, or into an operation.
            WeightsError: N_G's numbers are no odds.
        """
        work = _prepare(frame, measure_range(frame, "auto"))
        with self._computing():
            whole = self._draw(work, rng, operations)
            return self._apply(work, _scaled(whole, severity))

    def replay(
        self, frame: Frame, recipe: Recipe, range_: tuple[float, float] | None = None
    ) -> Degraded:
        """The picture through a recipe; on its own range when none is given.

        Raises:
            PictureError: the picture does not fit into memory, or into an operation.
        """
        work = _prepare(frame, range_ or measure_range(frame, "auto"))
        with self._computing():
            return self._apply(work, recipe)

    @contextlib.contextmanager
    def _computing(self) -> Iterator[None]:
        """Without gradients, on one thread of the processor.

        Sums of several threads depend on their number; pictures are what is done side by side.
        """
        import torch

        try:
            with hardware.single_thread(), torch.no_grad():
                yield
        except RuntimeError as error:
            memory = ("allocate memory", "not enough memory", "out of memory")
            if not any(words in str(error) for words in memory):
                raise
            cuda = self._device.type == "cuda"
            remedy = "use --backend cpu" if cuda else "cut it into smaller pictures"
            raise PictureError("does not fit into memory", remedy=remedy) from error

    def _draw(
        self, work: _Work, rng: np.random.Generator, operations: Collection[str] | None
    ) -> Recipe:
        """A whole attack on the picture: as severe as N_G chooses, and no more than it may be.

        It is drawn for a shrunken view, and lessened until enough of the picture itself is left
        (see `deal_cli.model.generator.attack`).
        """
        from deal_cli.model.degradations import draw
        from deal_cli.model.generator import attack
        from deal_cli.model.sampler import Recipe, Step, replay

        if work.unit is None:
            return Recipe(())
        assert self._generator is not None
        wanted = set(self._generator.config.operations if operations is None else operations)
        if operations is None and max(work.unit.shape) > LONGEST_JPEG:
            wanted -= {"jpeg"}
        first = Recipe(())
        if operations is not None and TONE in wanted:
            first = Recipe((Step(draw(TONE, rng), 1.0),))
            wanted -= {TONE}
        if not wanted:
            return first
        policy, chosen = self._choose(work.unit, rng, wanted)
        _check_edges(work.unit, [choice.draw for choice in chosen])
        (whole,) = attack(replay(self._placed(work.unit), first), policy, [chosen]).recipes()
        return Recipe((*first.steps, *whole.steps))

    def _choose(
        self, unit: Values, rng: np.random.Generator, wanted: Collection[str]
    ) -> tuple[Policy, Choices]:
        """What N_G chooses at the sight of a picture, at least one operation."""
        import torch

        assert self._generator is not None
        policy = self._generator(_view(torch.from_numpy(unit)[None, None]))
        if not all(t.isfinite().all() for t in (policy.logits, policy.mean, policy.spread)):
            raise WeightsError("the generator's odds are no numbers", remedy="train it again")
        policy = policy.among(wanted)
        (chosen,) = policy.sample(rng)
        if all(choice.draw is None for choice in chosen):
            (chosen,) = _eager(policy).sample(rng)
        return policy, chosen

    def _apply(self, work: _Work, recipe: Recipe) -> Degraded:
        """The picture through a recipe; gaps stay."""
        from deal_cli.model.sampler import Recipe, replay

        if work.unit is None:
            return Degraded(work.frame, work.range, Recipe(()), math.inf)
        _check_edges(work.unit, [step.draw for step in recipe.steps])
        out: Values = replay(self._placed(work.unit), recipe)[0, 0].cpu().numpy()
        dtype, metadata = work.frame.dtype, work.frame.metadata
        for rows in bands(*out.shape):
            out[rows] -= work.unit[rows]
            out[rows] *= work.span
            out[rows] += work.source[rows]
            if dtype.kind in "iu":
                limits = np.iinfo(dtype)
                np.clip(np.rint(out[rows]), limits.min, limits.max, out=out[rows])
        keep_off_nodata(out, work.source, dtype, metadata.nodata, work.gaps)
        psnr = _psnr(work, out)
        if work.gaps is not None:
            out[work.gaps] = work.frame.values[work.gaps]
        return Degraded(replace(work.frame, values=out), work.range, recipe, psnr)

    def _placed(self, unit: Values) -> torch.Tensor:
        import torch

        return torch.from_numpy(unit)[None, None].to(self._device)


def _prepare(frame: Frame, range_: tuple[float, float]) -> _Work:
    """What the operations see of a picture.

    Raises:
        PictureError: its range is too wide for float32.
    """
    low, high = range_
    if high - low > float(np.finfo(np.float32).max):
        raise PictureError("spans more than float32 holds", remedy="scale its numbers first")
    source, gaps = fill_gaps(frame.values, frame.metadata.nodata, frame.absent)
    if not np.float32(high - low) > 0:
        return _Work(frame, source, gaps, range_, None)
    unit = source - np.float32(low)
    unit /= np.float32(high - low)
    np.clip(unit, 0, 1, out=unit)
    return _Work(frame, source, gaps, range_, unit)


def _view(x: torch.Tensor) -> torch.Tensor:
    """A picture `(1, 1, H, W)` with a short edge of at most `VIEW` pixels."""
    from torch.nn import functional

    short = min(x.shape[2:])
    if short <= VIEW:
        return x
    size = [round(edge * VIEW / short) for edge in x.shape[2:]]
    return functional.interpolate(x, size, mode="area")


def _eager(policy: Policy) -> Policy:
    """The policy with some operation, whichever, in its first round."""
    logits = policy.logits.clone()
    logits[:, 0, -1] = -math.inf
    return replace(policy, logits=logits)


def _scaled(recipe: Recipe, factor: float) -> Recipe:
    return replace(
        recipe,
        steps=tuple(replace(step, severity=step.severity * factor) for step in recipe.steps),
    )


def _check_edges(unit: Values, draws: Sequence[Draw | None]) -> None:
    """Make sure that a picture can be coded as the recipe says.

    Raises:
        PictureError: it is longer than a JPEG can be.
    """
    if max(unit.shape) > LONGEST_JPEG and any(d and d.operation == "jpeg" for d in draws):
        raise PictureError(
            f"is too long for JPEG, which ends at {LONGEST_JPEG} pixels",
            remedy="cut it, or leave jpeg out of --ops",
        )


def _psnr(work: _Work, out: Values) -> float:
    """Of what is written against the source, on the range, over the measured pixels."""
    total, count = 0.0, 0
    for rows in bands(*out.shape):
        difference = (out[rows] - work.source[rows]).astype(np.float64) / float(work.span)
        if work.gaps is not None:
            difference = difference[~work.gaps[rows]]
        total += float(np.square(difference).sum())
        count += difference.size
    return math.inf if total == 0 else 10 * math.log10(count / total)
