"""A contender that watches another one start: page faults, bytes read, files, bytecode, and its slowest functions."""

from __future__ import annotations

import mmap
import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PAGE_BYTES = resource.getpagesize()
TOUCHED_BYTES = 32 << 20


@dataclass
class Watched:
    """The model under watch, and what was seen of it."""

    contender: Any
    model: Any
    seen: dict[str, Any]
    runs: int = 0
    opened: list[str] = field(default_factory=list)


def load(job: dict[str, Any]) -> Watched:
    """Load `job["watched"]` with every counter on. Slower than without: for shares, not for totals."""
    import cProfile

    from lukewarm.benchmarks.runner import find

    compiled: list[str] = []
    opened: list[str] = []

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "compile" and len(arguments) > 1 and str(arguments[1]).endswith(".py"):
            compiled.append(str(arguments[1]))
        elif event == "open" and isinstance(arguments[0], str) and isinstance(arguments[1], str):
            opened.append(arguments[0])

    sys.addaudithook(audit)
    before = counters()
    contender = find(job["watched"])
    profile = cProfile.Profile()
    begun = time.perf_counter()
    model = profile.runcall(contender.load, job)
    seen = {
        "load_s": time.perf_counter() - begun,
        "load": _difference(counters(), before),
        "functions": _slowest(profile),
        "compiled": len(compiled),
        "files_opened": len(opened),
    }
    return Watched(contender, model, seen)


def run(watched: Watched, inputs: list[str], new_tokens: int) -> dict[str, Any]:
    """The first run is watched; later ones are just run."""
    if watched.runs == 0:
        before, begun = counters(), time.perf_counter()
        answer: dict[str, Any] = watched.contender.run(watched.model, inputs, new_tokens)
        watched.seen["first_s"] = time.perf_counter() - begun
        watched.seen["first"] = _difference(counters(), before)
    else:
        answer = watched.contender.run(watched.model, inputs, new_tokens)
    watched.runs += 1
    return answer


def measure(contender: Any, model: Watched, job: dict[str, Any], sample: dict[str, Any]) -> None:
    """Add what was seen to the sample: call it as the runner's extra step."""
    again = []
    for _ in range(3):
        begun = time.perf_counter()
        run(model, job["inputs"][:1], 1)
        again.append(time.perf_counter() - begun)
    sample["seen"] = {**model.seen, "again_s": sorted(again)[1], "mapped": mapped_files(), "fault_s": fault_s()}


def counters() -> dict[str, int]:
    """Of this process so far. Empty fields where the system does not tell."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    found = {"minor_faults": usage.ru_minflt, "major_faults": usage.ru_majflt}
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return found
    io = dict(line.split(": ") for line in lines)
    return {**found, "read_calls_bytes": int(io["rchar"]), "disk_bytes": int(io["read_bytes"])}


def fault_s() -> float:
    """What one first touch of a fresh page costs here, from touching 32 MB."""
    with mmap.mmap(-1, TOUCHED_BYTES) as fresh:
        begun = time.perf_counter()
        for offset in range(0, TOUCHED_BYTES, PAGE_BYTES):
            fresh[offset] = 1
        touched_s = time.perf_counter() - begun
        begun = time.perf_counter()
        for offset in range(0, TOUCHED_BYTES, PAGE_BYTES):
            fresh[offset] = 1  # the same loop without faults
        loop_s = time.perf_counter() - begun
    return max(0.0, touched_s - loop_s) / (TOUCHED_BYTES // PAGE_BYTES)


def mapped_files() -> list[tuple[str, int, int]]:
    """(file, bytes mapped, bytes of it resident) of all mapped files, the largest resident first."""
    sizes: dict[str, list[int]] = {}
    name = ""
    try:
        lines = Path("/proc/self/smaps").read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        head, _, rest = line.partition(" ")
        if "-" in head and not head.endswith(":"):
            fields = line.split(None, 5)
            name = fields[5] if len(fields) == 6 and fields[5].startswith("/") else ""
        elif name and head in ("Size:", "Rss:"):
            sizes.setdefault(name, [0, 0])[head == "Rss:"] += int(rest.split()[0]) * 1024
    return sorted(((n, s[0], s[1]) for n, s in sizes.items()), key=lambda item: -item[2])[:12]


def _difference(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    return {name: after[name] - before.get(name, 0) for name in after}


def _slowest(profile: Any, count: int = 25) -> list[tuple[str, float, int]]:
    """(function, seconds in itself, calls) of a cProfile, the slowest first."""
    import pstats

    stats: Any = pstats.Stats(profile)
    rows = [(_name(key), value[2], value[0]) for key, value in stats.stats.items()]
    return sorted(rows, key=lambda row: -row[1])[:count]


def _name(key: tuple[str, int, str]) -> str:
    file, line, function = key
    if file == "~":  # C functions have no file
        if "'_thread.lock'" in function:
            return "waiting for another thread (such as the one that opens the model)"
        return function.strip("<>").replace("built-in method ", "").replace("method ", "")
    parts = Path(file).with_suffix("").parts
    if "site-packages" in parts:
        parts = parts[parts.index("site-packages") + 1 :]
    return f"{'.'.join(parts[-3:])}:{line} {function}"
