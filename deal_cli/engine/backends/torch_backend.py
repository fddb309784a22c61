"""The network in torch, on the CPU or a CUDA device.

Lower precision is used only where the processor has it *and* a check against float32 on
real-looking pictures passes.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np

from deal_cli.engine.backends import hardware
from deal_cli.engine.backends.agreement import PRECISION_FLOOR, agreement, check_pictures
from deal_cli.engine.backends.contract import Backend, Batch, Facts, OutOfMemoryError

if TYPE_CHECKING:
    import torch

    from deal_cli.model.network import Enhancer

PART_PIXELS = 2**17  # of what one core works on at a time


_own = threading.local()


@final
class TorchBackend(Backend):
    """The network in torch, on the CPU or a CUDA device, in the lowest precision that is safe."""

    def __init__(
        self,
        network: Enhancer,
        device: torch.device,
        name: str,
        sha256: str,
        path: Path = Path(),
    ) -> None:
        import torch

        from deal_cli.model.forms import folded
        from deal_cli.networks import halo, input_edge

        hardware.keep_freed_memory()
        config = network.config
        self._threads = hardware.threads() if device.type == "cpu" else 1
        self._pool = ThreadPoolExecutor(self._threads, "network")
        self._channels = config.channels
        self._device = device
        reference = placed(folded(network), device, torch.float32)
        dtype, note = lower_precision(device)
        self._network = reference
        if dtype is not torch.float32:
            lower = placed(folded(network), device, dtype)
            with torch.inference_mode():
                x = torch.from_numpy(check_pictures()).to(device)
                restored = [self._restore(form, x, x).cpu().numpy() for form in (reference, lower)]
            distance = agreement(*restored)
            if distance >= PRECISION_FLOOR:
                self._network = lower
                note = f"{note}, {distance:.0f} dB from float32"
            else:
                note = f"{dtype} is {distance:.0f} dB from float32, below {PRECISION_FLOOR:.0f}"
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # other streams may use the weights from here on
        super().__init__(
            Facts(
                backend=device.type,
                device=hardware.cpu_name()
                if device.type == "cpu"
                else torch.cuda.get_device_name(device),
                precision=str(next(self._network.parameters()).dtype).removeprefix("torch."),
                note=note,
                weights=name,
                sha256=sha256,
                stride=config.stride,
                halo=halo(config),
                smallest=input_edge(config),
                path=path,
                parallel=self._threads,
                reads_whole=network.gauge is not None,
            )
        )

    def run(self, x: Batch, whole: Batch | None = None) -> Batch:
        whole = x if whole is None else whole
        try:
            if self._device.type == "cuda":
                return self._run_on_device(x, whole)
            if len(x) == 1:
                return self._run_here(x, whole, self._threads)
            # A core a picture: together on one picture, cores wait for each other at every layer.
            # Small pictures go together, up to what the caches hold of them.
            count = min(len(x), max(self._threads, -(-x.size // PART_PIXELS)))
            parts = zip(np.array_split(x, count), np.array_split(whole, count), strict=True)
            done = self._pool.map(lambda part: self._run_here(part[0], part[1], 1), parts)
            return np.concatenate(list(done))
        except RuntimeError as error:  # torch's own out of memory on a device is one
            words = ("out of memory", "allocate memory", "not enough memory")
            if any(part in str(error) for part in words):
                raise OutOfMemoryError from error
            raise

    def _run_here(self, x: Batch, whole: Batch, threads: int) -> Batch:
        import torch

        torch.set_num_threads(threads)  # of the calling thread
        with torch.inference_mode():
            pictures = torch.from_numpy(x), torch.from_numpy(whole)
            return self._restore(self._network, *pictures).numpy()

    def _run_on_device(self, x: Batch, whole: Batch) -> Batch:
        """Through page-locked memory and on a stream of the thread's own.

        So copies are made without the processor, and those of one thread's pictures while another
        thread's are computed.
        """
        import torch

        with torch.inference_mode(), torch.cuda.stream(_stream(self._device)):
            sent = seen = self._sent(x)
            if whole is not x and self.facts.reads_whole:
                seen = self._sent(whole)
            restored = self._restore(self._network, sent, seen)
            back = torch.empty(restored.shape, pin_memory=True)
            back.copy_(restored, non_blocking=True)
            torch.cuda.current_stream(self._device).synchronize()
            return back.numpy()

    def _sent(self, x: Batch) -> torch.Tensor:
        import torch

        return torch.from_numpy(x).pin_memory().to(self._device, non_blocking=True)

    def _restore(self, network: Enhancer, x: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
        """The global skip is added in float32; the correction comes in the network's precision."""
        correction = network.correction(x.expand(-1, self._channels, -1, -1), whole)
        return x + correction.float().mean(1, keepdim=True)


def _stream(device: torch.device) -> torch.cuda.Stream:
    """The calling thread's own stream on a device; torch keeps memory for each that there is."""
    import torch

    streams: dict[torch.device, torch.cuda.Stream] = _own.__dict__.setdefault("streams", {})
    if device not in streams:
        streams[device] = torch.cuda.Stream(device)
    return streams[device]


def placed(network: Enhancer, device: torch.device, dtype: torch.dtype) -> Enhancer:
    """The network on a device, in channels-last layout, which convolutions there like best."""
    import torch

    from deal_cli.model.forms import in_precision

    network = in_precision(network.to(device), dtype)
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    return network


def lower_precision(device: torch.device) -> tuple[torch.dtype, str]:
    """The fastest dtype the device computes in, and what says so."""
    import torch

    if device.type == "cuda":
        if torch.cuda.get_device_capability(device) >= (8, 0):
            return torch.bfloat16, "the device computes in bfloat16"
        if torch.cuda.get_device_capability(device) >= (7, 0):
            return torch.float16, "the device computes in float16"
    elif hardware.has_bfloat16():
        return torch.bfloat16, "the processor computes in bfloat16"
    return torch.float32, "no lower precision in hardware"
