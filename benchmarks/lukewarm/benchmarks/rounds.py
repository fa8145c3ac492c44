"""Measures cases in interleaved rounds of fresh processes and turns their samples into records; can be resumed."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from lukewarm.benchmarks import cache, installed, launch, machine, record
from lukewarm.benchmarks.record import SCHEMA, Case, Installed, Phases, Record, Settings, Warm
from lukewarm.benchmarks.stats import figure
from lukewarm.benchmarks.turns import Progress, Turn, Turns
from lukewarm.predictors.errors import LukewarmError, MissingExtra

PHASES = ("interpreter", "imports", "load", "first", "total", "cpu")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One case and all that its process needs. `reason` set: it cannot be run, and becomes a row that says so."""

    case: Case
    contender: str  # module, or module:attribute
    path: Path | None = None  # bundle or source model
    inputs: tuple[str, ...] = ("",)
    options: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    extra: tuple[str, ...] = ()  # further measurements: modules of this package with `measure(contender, model, job)`
    requirements: tuple[str, ...] = ()  # whose installed bytes are counted, as they lie here
    packages: tuple[str, ...] = ()  # the same pinned, to be installed afresh as pip does
    image: tuple[str, ...] = ()  # and the closed list of an image
    bundle_digest: str = ""
    bundle_bytes: int | None = None
    accuracy: Mapping[str, float] = field(default_factory=dict)
    accuracy_from: str = ""
    reason: str = ""
    skipped: bool = False  # `reason` is a choice, not a failure

    def body(self, settings: Settings) -> dict[str, Any]:
        """What the runner gets as JSON."""
        return {
            "contender": self.contender,
            "task": self.case.task,
            "path": str(self.path or ""),
            "inputs": list(self.inputs),
            "options": dict(self.options),
            "env": dict(self.env),
            "extra": list(self.extra),
            "limit_s": settings.limit_s,
            "hidden": list(_foreign(self.requirements)),
            "threads": settings.threads,
            "new_tokens": settings.new_tokens,
            "batches": list(settings.batches),
            "warm_runs": settings.warm_runs,
            "warm_limit_s": settings.warm_limit_s,
        }


class Bench:
    """One run over many cases: the conditions, where it writes, and what it found so far."""

    def __init__(self, settings: Settings, out: Path, *, suite: str, resume: bool, progress: Progress) -> None:
        self.settings = settings
        self.suite = suite
        self.machine = machine.describe()
        self.versions = machine.versions()
        self.turns = Turns(out, suite, resume=resume, progress=progress)
        self.done = {r.key: r for r in record.read(out / "records.jsonl")} if resume else {}

    def key(self, job: Job) -> str:
        """Equal for the same case under the same conditions; the number of rounds is not one of them."""
        conditions = msgspec.structs.replace(self.settings, rounds=0)
        body = {k: v for k, v in job.body(self.settings).items() if k not in ("path", "hidden", "limit_s")}
        same = machine.identity(self.machine)
        return record.digest(self.suite, job.case, job.bundle_digest, body, conditions, same, self.versions)

    def measure(self, jobs: Sequence[Job]) -> list[Record]:
        """Every case, `settings.rounds` times in turn after one discarded round; a failure ends its case alone."""
        keys = [self.key(job) for job in jobs]
        alive = [(job, key) for job, key in zip(jobs, keys, strict=True) if not job.reason and not self._recorded(key)]
        turns = [Turn(key, f"{job.case.label} ({job.case.model})") for job, key in alive]
        self.turns.take(turns, self.settings.rounds, lambda place, number: self._one(alive[place][0], number))
        return [self._record(job, key) for job, key in zip(jobs, keys, strict=True)]

    def _recorded(self, key: str) -> bool:
        old = self.done.get(key)
        return old is not None and old.status == "ok" and old.settings.rounds >= self.settings.rounds

    def _one(self, job: Job, number: int) -> dict[str, Any]:
        body = job.body(self.settings)
        if number == 0:
            body |= {"warm_runs": 0, "extra": []}
        elif self.settings.page_cache == "dropped":
            cache.drop([*cache.python_roots(), *([job.path] if job.path else [])])
        found: dict[str, Any] = launch.sample(body, limit_s=self.settings.limit_s, core=self.settings.core)
        return found

    def _record(self, job: Job, key: str) -> Record:
        if not job.reason and self._recorded(key):
            return self.done[key]
        samples = self.turns.samples(key, self.settings.rounds)
        failures = self.turns.failures(key, self.settings.rounds)
        base = self._base(job, key)
        if job.reason:
            return msgspec.structs.replace(base, status="skipped" if job.skipped else "failed", reason=job.reason)
        if not samples:
            return msgspec.structs.replace(base, status="failed", reason=failures[-1] if failures else "not run")
        return _with_samples(base, samples, failures)

    def _base(self, job: Job, key: str) -> Record:
        missing: dict[str, str] = {}
        size = None
        if job.requirements:
            try:
                size = _installed(job.requirements)
            except MissingExtra as error:
                missing["installed"] = str(error)
        in_image = None
        try:
            size = installed.afresh(job.packages, closed=False) if job.packages else size
            in_image = installed.afresh(job.image, closed=True) if job.image else None
        except LukewarmError as error:  # no index in reach: what lies here was counted, an image was not
            missing["image"] = str(error).partition("\n")[0]
        return Record(
            schema=SCHEMA,
            kind="measured",
            suite=self.suite,
            key=key,
            case=job.case,
            date=now(),
            settings=self.settings,
            bundle_bytes=job.bundle_bytes,
            bundle_digest=job.bundle_digest,
            installed=size,
            image=in_image,
            accuracy=dict(job.accuracy),
            accuracy_from=job.accuracy_from,
            not_measured=missing,
            versions=self.versions,
            machine=self.machine,
        )


@functools.cache
def _foreign(requirements: tuple[str, ...]) -> tuple[str, ...]:
    """What a process must not see, so that a full environment measures like one of its own; unknown: nothing."""
    try:
        return tuple(installed.foreign_modules(requirements)) if requirements else ()
    except MissingExtra:
        return ()


@functools.cache
def _installed(requirements: tuple[str, ...]) -> Installed:
    return installed.measure(requirements)


def now() -> str:
    """UTC to the second."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _with_samples(base: Record, samples: list[dict[str, Any]], failures: list[str]) -> Record:
    phases = Phases(**{name: figure([s["phases"][name] for s in samples], "s") for name in PHASES})
    not_measured = dict(base.not_measured)
    for sample in samples:
        not_measured |= sample["not_measured"]
    last = samples[-1]
    return msgspec.structs.replace(
        base,
        phases=phases,
        warm=_warm(samples),
        figures=_figures(samples),
        start_memory_bytes=max(s["start_memory_bytes"] for s in samples),
        peak_memory_bytes=max(s["peak_memory_bytes"] for s in samples),
        used=installed.used(last["modules"]),
        text=last["text"],
        not_measured=not_measured,
        failures=failures,
    )


def _warm(samples: list[dict[str, Any]]) -> list[Warm]:
    found = []
    for batch in sorted({int(b) for s in samples for b in s["warm"]}):
        times_s = [t for s in samples for t in s["warm"].get(str(batch), ())]
        units = next(s["units"][str(batch)] for s in samples if str(batch) in s["units"])
        latency = figure(times_s, "s")
        rate = units / latency.median if latency.median else None
        found.append(Warm(batch=batch, latency=latency, tokens_per_s=rate))
    return found


def _figures(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures of the extra measurements: every sample holds name -> (unit, values)."""
    pooled: dict[str, tuple[str, list[float]]] = {}
    for sample in samples:
        for name, (unit, values) in sample.get("figures", {}).items():
            pooled.setdefault(name, (unit, []))[1].extend(values)
    return {name: figure(values, unit) for name, (unit, values) in pooled.items() if values}
