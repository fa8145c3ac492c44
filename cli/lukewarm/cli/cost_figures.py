"""What `lukewarm cost` knows before it asks: figures of a spec, a bundle and measured records, each with its origin."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from lukewarm.predictors.errors import PriceError

if TYPE_CHECKING:
    from lukewarm.benchmarks.record import Record
    from lukewarm.costs.inputs import Need

KEYS = (
    "service_s",
    "cold_start_s",
    "pull_s",
    "queue_s",
    "hit_s",
    "hit_tau_s",
    "memory_gb",
    "vcpu",
    "gpu",
    "gpu_memory_gb",
    "image_mb",
)


@dataclass(frozen=True)
class Figures:
    """Known values by the name of their flag; `measured` names those that come from a measurement."""

    values: dict[str, Any]
    measured: frozenset[str] = frozenset()
    batch_marginal: float | None = None
    keys: tuple[str, ...] = field(default=KEYS)

    def need(self, flags: dict[str, Any]) -> tuple[Need, str]:
        """The need with the user's flags on top, and a word on where its durations come from."""
        from lukewarm.costs.inputs import Need

        given = {key: value for key, value in flags.items() if value is not None}
        merged = {**self.values, **given}
        if merged.get("gpu") == "none":
            merged.pop("gpu")
        for key in ("service_s", "cold_start_s"):
            if key not in merged:
                raise PriceError(f"how long? give --{key.replace('_', '-')}, or --records with measured figures")
        durations = {"service_s", "cold_start_s"}
        own = durations & self.measured - set(given)
        basis = "measured" if own == durations else "partly measured" if own else "supposed"
        try:
            return msgspec.convert(merged, Need), basis
        except msgspec.ValidationError as error:
            raise PriceError(f"a flag is out of range: {error}") from error


def figures(spec: Path | None, bundle: Path | None, records: Path | None) -> Figures:
    """Everything that is known; later sources win. Raises the errors of what cannot be read."""
    values: dict[str, Any] = {}
    if spec is not None:
        values |= _of_spec(spec)
    digest = ""
    if bundle is not None:
        more, digest = _of_bundle(bundle)
        values |= more
    if records is None:
        return Figures(values)
    row = _chosen(records, digest)
    found = _of_record(row)
    return Figures({**values, **found}, frozenset(found), _batch_marginal(row))


def _of_spec(path: Path) -> dict[str, Any]:
    from lukewarm.predictors import specfile

    wanted = specfile.load(path).resources
    values: dict[str, Any] = {"memory_gb": wanted.memory_gb, "vcpu": wanted.cpu}
    return {**values, "gpu": wanted.gpu} if wanted.gpu else values


def _of_bundle(path: Path) -> tuple[dict[str, Any], str]:
    """A bundle's bytes are the least that its image, and a GPU's memory, must hold."""
    from lukewarm.predictors.bundle import Bundle

    bundle = Bundle.open(path)
    return {"image_mb": bundle.total_bytes / 1e6, "gpu_memory_gb": bundle.total_bytes / 1e9}, bundle.digest


def _chosen(path: Path, digest: str) -> Record:
    """The measured row of the bundle, or the fastest start of all."""
    from lukewarm.benchmarks.record import read

    rows = [r for r in read(path) if r.kind == "measured" and r.phases is not None and r.warm]
    mine = [r for r in rows if r.bundle_digest == digest] if digest else rows
    if not mine:
        what = "of this bundle " if digest else ""
        raise PriceError(f"{path}: no measured row {what}with a start and a request; run: lukewarm bench")
    return min(mine, key=lambda r: r.phases.total.median if r.phases else 0.0)


def _of_record(row: Record) -> dict[str, Any]:
    assert row.phases is not None  # chosen for it
    values: dict[str, Any] = {"cold_start_s": row.phases.total.median, "service_s": row.warm[0].latency.median}
    sizes = (row.bundle_bytes or 0) + (row.installed.bytes if row.installed else 0)
    if sizes:
        values["image_mb"] = sizes / 1e6
    return values


def _batch_marginal(row: Record) -> float | None:
    """The extra time of each further item, from the smallest and the largest measured batch."""
    sizes = sorted(row.warm, key=lambda w: w.batch)
    one, most = sizes[0], sizes[-1]
    if one.batch == most.batch or one.latency.median <= 0:
        return None
    marginal = (most.latency.median / one.latency.median - 1) / (most.batch - one.batch)
    return min(max(marginal, 0.0), 1.0)
