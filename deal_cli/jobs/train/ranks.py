"""The processes of one training: one, or as many as `torchrun` started.

Every process draws batches of its own and the gradients are averaged, so that all have the same
weights after every step. Process 0 alone validates, writes and talks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deal_cli.engine.backends.choice import Choice

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """This process among those of a training.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def average(self, tensors: Sequence[Tensor], stop: bool = False) -> bool:
        """Put the mean over the processes in place of each tensor; whether any wants to stop."""
        if self.size == 1:
            return stop
        import torch
        import torch.distributed as dist

        # One message for all: a network of many small tensors costs one latency.
        flag = torch.tensor([float(stop)], device=tensors[0].device)
        flat = torch.cat([*(tensor.flatten() for tensor in tensors), flag])
        dist.all_reduce(flat)
        flat /= self.size
        for tensor, mean in zip(
            tensors, flat[:-1].split([tensor.numel() for tensor in tensors]), strict=True
        ):
            tensor.copy_(mean.view_as(tensor))
        return bool(flat[-1] > 0)

    def agree(self, value: Any) -> Any:
        """What process 0 says; the others wait for it."""
        if self.size == 1:
            return value
        import torch.distributed as dist

        said = [value]
        dist.broadcast_object_list(said)
        return said[0]


@contextmanager
def joined(choice: Choice) -> Iterator[tuple[Ranks, Choice]]:
    """This process among its like, and the device it has of its own under `torchrun`."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks(), choice
        return
    import torch
    import torch.distributed as dist

    if choice.kind == "cuda":
        choice = replace(choice, device=int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(choice.device)
    dist.init_process_group("nccl" if choice.kind == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), size), choice
    finally:
        dist.destroy_process_group()
