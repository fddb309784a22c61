"""What this machine can do, and how many of its cores torch may use for a while."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


# Options of glibc's mallopt, from its <malloc.h>.
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
MAPPED_FROM = 2**26, 2**25  # bytes; old releases refuse the first
KEPT = 2**30  # bytes


@functools.cache
def cpu_flags() -> frozenset[str]:
    """Feature flags of the processor as Linux lists them; empty where they are not listed."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    flags = (line.split(":", 1)[1] for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(flags, "").split())


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware (AMX, AVX512-BF16 or Arm BF16)."""
    return bool(cpu_flags() & {"amx_bf16", "avx512_bf16", "bf16"})


def threads() -> int:
    """Threads to compute with: as many as physical cores, fewer where `OMP_NUM_THREADS` says so."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    cores = physical_cores()
    return min(cores, int(asked)) if asked.isdecimal() and int(asked) else cores


@functools.cache
def physical_cores() -> int:
    """Cores this process may use, hyper-threads of one core counted once."""
    if not hasattr(os, "sched_getaffinity"):
        return max(1, (os.cpu_count() or 1) // (1 if platform.machine() == "arm64" else 2))
    usable = os.sched_getaffinity(0)
    siblings = set()
    for cpu in usable:
        topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            siblings.add(topology.read_text(encoding="utf-8").strip())
        except OSError:
            siblings.add(str(cpu))
    return max(1, len(siblings))


@functools.cache
def cpu_name() -> str:
    """The processor's own name, or its architecture where it has none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def device_name(device: torch.device) -> str:
    """The accelerator's or processor's own name, the latter with the threads it computes with."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{cpu_name()}, {threads()} threads"


def has_nvidia() -> bool:
    """Whether an NVIDIA driver is loaded; asking CUDA libraries without one only makes noise."""
    return Path("/proc/driver/nvidia").exists() or bool(shutil.which("nvidia-smi"))


@functools.cache
def keep_freed_memory() -> bool:
    """Have what is freed kept for what is asked for next; whether the allocator can be told so.

    glibc gives the memory of a feature map back to the system as soon as it is freed, and each
    layer has its pages mapped and zeroed again: a fifth of the time of a picture, and far more
    where several threads do it at once. Blocks above 64 MiB, twice a feature map of the default
    network in a tile, still go back, and so does what lies free beyond 1 GiB. For the process and
    for good.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    if not any(libc.mallopt(MMAP_THRESHOLD, size) for size in MAPPED_FROM):
        return False  # the rest alone would end the growth of this threshold, and do harm
    return bool(libc.mallopt(TRIM_THRESHOLD, KEPT) and libc.mallopt(ARENA_MAX, 1))


@contextlib.contextmanager
def single_thread() -> Iterator[None]:
    """One thread for torch: many small operations cost more to share out than it gains.

    Sums of one thread are the same on every machine, too; those of several depend on their number.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)  # of the calling thread
    try:
        yield
    finally:
        torch.set_num_threads(before)
