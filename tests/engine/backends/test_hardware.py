"""Facts about the machine, each checked against another source of it."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from deal_cli.engine.backends import hardware
from deal_cli.engine.backends.hardware import physical_cores


def test_cores_are_at_least_one_and_no_more_than_the_process_may_use() -> None:
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {*range(10_000)}
    assert 1 <= physical_cores() <= len(usable)


def test_the_processor_has_a_name() -> None:
    assert hardware.cpu_name().strip()


@pytest.mark.parametrize("flag", ["amx_bf16", "avx512_bf16", "bf16"])
def test_each_flag_of_bfloat16_is_known(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cpu_flags", lambda: frozenset({"avx2", flag}))
    assert hardware.has_bfloat16()


def test_a_processor_without_the_flags_has_no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cpu_flags", lambda: frozenset({"avx2", "avx512f"}))
    assert not hardware.has_bfloat16()


def test_flags_are_words_without_blanks() -> None:
    assert all(flag and flag == flag.strip() for flag in hardware.cpu_flags())


@pytest.mark.gpu
def test_a_machine_with_a_gpu_has_its_driver() -> None:
    assert hardware.has_nvidia()


def test_memory_that_is_freed_is_kept_where_the_allocator_can_be_told() -> None:
    program = """
import resource, torch
from deal_cli.engine.backends import hardware

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(10 * 2**20)  # 40 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

told = hardware.keep_freed_memory()
print(told, [faults() for _ in range(5)][-1])
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told, faulted = done.stdout.split()
    if platform.libc_ver()[0] != "glibc":
        assert told == "False"
        pytest.skip("the C library is not glibc")
    assert told == "True"
    pages = 4 * 40 * 2**20 // os.sysconf("SC_PAGE_SIZE")
    assert int(faulted) < pages / 10


def test_an_old_allocator_is_told_what_it_accepts_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[int, int]] = []

    def mallopt(option: int, value: int) -> int:
        told.append((option, value))
        return int(option != hardware.MMAP_THRESHOLD or value <= most)

    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.31"))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    most = 2**25
    assert hardware.keep_freed_memory.__wrapped__()
    assert (hardware.MMAP_THRESHOLD, 2**25) in told
    assert {option for option, _ in told} == {-1, -3, -8}
    told.clear()
    most = 0
    assert not hardware.keep_freed_memory.__wrapped__()
    assert {option for option, _ in told} == {hardware.MMAP_THRESHOLD}
