"""What the numbers were measured on: processor, memory, kernel, and the versions of the packages that matter."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
from collections.abc import Iterable
from pathlib import Path

from lukewarm.benchmarks.record import Machine
from lukewarm.predictors.cpus import available_cpus

FLAGS = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16",
    "asimd", "asimddp", "i8mm", "sve", "bf16",
)  # fmt: skip
PACKAGES = (
    "lukewarm", "torch", "transformers", "onnxruntime", "ctranslate2", "bitsandbytes", "tokenizers", "numpy", "msgspec",
)  # fmt: skip


def describe() -> Machine:
    """This machine, now."""
    cpu, flags = _cpu()
    return Machine(
        cpu=cpu,
        flags=[flag for flag in FLAGS if flag in flags],
        cores=available_cpus(),
        memory_bytes=_memory_bytes(),
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        load_1min=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    )


def identity(machine: Machine) -> Machine:
    """The part of a machine that does not change while it runs: for keys."""
    return Machine(
        cpu=machine.cpu,
        flags=machine.flags,
        cores=machine.cores,
        memory_bytes=0,
        kernel=machine.kernel,
        python=machine.python,
    )


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Installed versions; packages that are not installed are left out."""
    found = {}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _cpu() -> tuple[str, set[str]]:
    """Model name and flags, from Linux; elsewhere what Python knows."""
    name, flags = "", set[str]()
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return platform.processor() or platform.machine(), flags
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name" and not name:
            name = value.strip()
        elif key.strip() in ("flags", "Features") and not flags:
            flags = set(value.split())
    return name or platform.processor() or platform.machine(), flags


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0
