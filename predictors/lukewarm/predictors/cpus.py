"""How many processors this process may use. Light: it is asked before anything else is imported."""

from __future__ import annotations

import os


def available_cpus() -> int:
    """Processors this process may use: the affinity mask, capped by the cgroup's CPU quota (v1 and v2), at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(count, int(quota))) if quota else max(1, count)


def _cgroup_quota() -> float | None:
    try:
        words = _read("/sys/fs/cgroup/cpu.max").split()
        return None if words[0] == "max" else int(words[0]) / int(words[1])
    except (OSError, ValueError, IndexError):
        pass
    try:
        quota = int(_read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"))
        period = int(_read("/sys/fs/cgroup/cpu/cpu.cfs_period_us"))
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()
