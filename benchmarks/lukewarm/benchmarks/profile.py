"""Where the time of a cold start went, and the largest savings still open: `lukewarm bench --profile-start`."""

from __future__ import annotations

import statistics
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import msgspec

from lukewarm.benchmarks import importtime, launch, plan
from lukewarm.benchmarks.bench import Run
from lukewarm.benchmarks.record import Case, Settings
from lukewarm.benchmarks.rounds import PHASES, Job
from lukewarm.benchmarks.turns import Progress
from lukewarm.predictors.errors import LukewarmError

PROBE = "lukewarm.benchmarks.contenders.probe"
FILE = "profile.json"
SHOWN = 0.03  # of the total: smaller parts are left out


class Saving(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a cold start that something could be done about; at most `seconds` would be gained."""

    seconds: float
    what: str
    how: str


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """One bundle's cold start, taken apart: phases are medians of `n` plain starts, the rest of one watched start."""

    case: Case
    n: int
    phases: dict[str, float]
    interpreter: dict[str, float]
    packages: list[tuple[str, float, int]]
    imports: list[str]
    seen: dict[str, Any]
    savings: list[Saving]


def run(call: Run, progress: Progress) -> Profile:
    """Profile the spec's own bundle, or that of one --backend and --precision. Raises LukewarmError."""
    spec = call.spec
    if call.choice.backends or call.choice.precisions:
        backend, precision, _ = next(plan.combinations(spec, call.choice))
        spec = msgspec.structs.replace(spec, backend=backend, precision=precision)
    bundle = plan.convert(spec, call.place, progress)
    case = Case(backend=bundle.manifest.backend, precision=bundle.manifest.precision, model=spec.name, task=spec.task)
    found = profile(plan.bundle_job(bundle, case, call.settings), call.settings, progress)
    call.out.mkdir(parents=True, exist_ok=True)
    (call.out / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    return found


def profile(job: Job, settings: Settings, progress: Progress) -> Profile:
    """Plain starts first, then one with import times, then one under watch. Raises LukewarmError."""
    body = job.body(settings) | {"warm_runs": 0}
    watched = body | {"contender": PROBE, "watched": job.contender, "extra": [PROBE]}
    rounds = max(3, min(settings.rounds, 7))
    try:
        launch.sample(body, limit_s=settings.limit_s, core=settings.core)
        samples = []
        for number in range(rounds):
            progress(f"start {number + 1}/{rounds}: {job.case.label}", number / (rounds + 2))
            samples.append(launch.sample(body, limit_s=settings.limit_s, core=settings.core))
        progress("import times", rounds / (rounds + 2))
        flags = ("-X", "importtime")
        _, text = launch.run_job(body, limit_s=settings.limit_s, core=settings.core, flags=flags)
        progress("page faults, files, functions", (rounds + 1) / (rounds + 2))
        seen = launch.sample(watched, limit_s=settings.limit_s, core=settings.core)["seen"]
    except launch.Failed as error:
        raise LukewarmError(f"{job.case.label} could not be started: {error}") from error
    phases = {name: statistics.median(s["phases"][name] for s in samples) for name in PHASES}
    roots = importtime.parse(text)
    packages = importtime.by_package(roots)
    interpreter = interpreter_s()
    progress(f"profiled {job.case.label}", 1.0)
    return Profile(
        case=job.case,
        n=rounds,
        phases=phases,
        interpreter=interpreter,
        packages=packages[:25],
        imports=importtime.tree(roots, phases["total"] * SHOWN),
        seen=seen,
        savings=savings(phases, packages, seen, interpreter),
    )


def interpreter_s(times: int = 5) -> dict[str, float]:
    """Medians of starting and ending Python: as it is, and without site and its .pth files."""
    found = {}
    for name, flags in (("python", ()), ("python -I -S", ("-I", "-S"))):
        taken = []
        for _ in range(times + 1):
            begun = time.monotonic()
            subprocess.run([sys.executable, *flags, "-c", "pass"], check=True, stdin=subprocess.DEVNULL)
            taken.append(time.monotonic() - begun)
        found[name] = statistics.median(taken[1:])
    return found


def savings(
    phases: dict[str, float],
    packages: list[tuple[str, float, int]],
    seen: dict[str, Any],
    interpreter: dict[str, float],
) -> list[Saving]:
    """Upper bounds, the largest first; they overlap (a fault happens inside a function), so they do not add up."""
    least = phases["total"] * SHOWN
    found = [
        Saving(
            seconds=taken,
            what=f"importing {name} ({modules} modules)",
            how="is it needed before the first answer? import less of it, or later",
        )
        for name, taken, modules in packages
        if taken >= least
    ]
    found += [
        Saving(seconds=taken, what=f"{name} ({calls}×) in load", how="do it at conversion, map instead of read")
        for name, taken, calls in seen["functions"]
        if taken >= least and not _is_import(name)
    ]
    compiling = sum(taken for name, taken, _ in seen["functions"] if name.startswith("builtins.compile"))
    if seen["compiled"]:
        found.append(
            Saving(
                seconds=compiling,
                what=f"compiling {seen['compiled']} modules that have no bytecode",
                how="ship .pyc files: python -m compileall in the image",
            )
        )
    faults = seen["load"]["minor_faults"] + seen["first"]["minor_faults"]
    found.append(
        Saving(
            seconds=faults * seen["fault_s"],
            what=f"{faults:,} page faults at {seen['fault_s'] * 1e6:.2f} µs",
            how="map weights instead of copying, huge pages, smaller weights",
        )
    )
    found.append(
        Saving(
            seconds=max(0.0, seen["first_s"] - seen["again_s"]),
            what="the first run over a later one of the same size",
            how="allocation, threads, first touch of the weights: warm up before ready, or restore a snapshot",
        )
    )
    found.append(
        Saving(
            seconds=max(0.0, interpreter["python"] - interpreter["python -I -S"]),
            what="site-packages' .pth files and site itself",
            how="an image without .pth files",
        )
    )
    return sorted((s for s in found if s.seconds >= 0.001), key=lambda s: -s.seconds)


def _is_import(name: str) -> bool:
    """Work of the import system, which the import times show already."""
    return any(part in name for part in ("importlib", "_imp.", "marshal.", "builtins.exec", "builtins.compile"))


def text(found: Profile) -> str:
    """For a terminal and for the report."""
    p, seen = found.phases, found.seen
    parts = "  ".join(f"{name} {p[name]:.3f}" for name in PHASES)
    lines = [f"{found.case.label} ({found.case.model}): medians of {found.n} starts, s", f"  {parts}", ""]
    lines += ["largest savings still open (upper bounds; they overlap and do not add up)"]
    lines += [f"  {s.seconds:6.3f} s  {s.what}\n            {s.how}" for s in found.savings]
    lines += ["", "imports, with their children (under -X importtime, which slows them a little)"]
    lines += [f"  {line}" for line in found.imports]
    lines += ["", "files mapped: MB resident of MB mapped"]
    lines += [f"  {rss / 1e6:8.1f} of {size / 1e6:8.1f}  {_short(name)}" for name, size, rss in seen["mapped"][:8]]
    load, first = seen["load"], seen["first"]
    lines += ["", "read and touched                    load       first run"]
    for name, title, unit in (
        ("minor_faults", "page faults", 1),
        ("major_faults", "page faults from disk", 1),
        ("read_calls_bytes", "MB read by calls", 1e6),
        ("disk_bytes", "MB read from disk", 1e6),
    ):
        if name in load:
            lines.append(f"  {title:24} {load[name] / unit:14,.0f} {first[name] / unit:14,.0f}")
    lines.append(f"  {'files opened by Python':24} {seen['files_opened']:14,}")
    return "\n".join(lines)


def _short(path: str) -> str:
    """Without the folders that every path here begins with."""
    roots = [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")]
    for root in roots:
        if Path(path).is_relative_to(root):
            return str(Path(path).relative_to(root))
    return "/".join(Path(path).parts[-2:])
