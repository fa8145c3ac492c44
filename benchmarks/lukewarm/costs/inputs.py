"""From what a user names to what is simulated: a need, a traffic (profile, log or trace), a file of several models."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml

from lukewarm.costs import traces
from lukewarm.costs.arrivals import Arrivals, profile
from lukewarm.costs.distributions import parse
from lukewarm.costs.evaluate import Workload
from lukewarm.costs.pool import Model
from lukewarm.costs.replay import open_log
from lukewarm.costs.simulate import Cold
from lukewarm.predictors.errors import PriceError, unknown

Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]


class Need(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one model needs; the text of durations is that of `distributions.parse`."""

    service_s: str | float
    cold_start_s: str | float
    pull_s: NotNegative = 0.0
    queue_s: NotNegative = 0.0
    hit_s: str | float | None = None
    hit_tau_s: NotNegative = 0.0
    memory_gb: Positive = 2.0
    vcpu: Positive = 1.0
    gpu: str | None = None
    gpu_memory_gb: NotNegative = 0.0
    image_mb: NotNegative = 0.0

    def workload(self, basis: str = "supposed") -> Workload:
        """Raises PriceError for a duration that is none, and for a pull longer than the start it is part of."""
        length = parse(str(self.cold_start_s))
        mean_s = length.moments.mean
        if self.pull_s + self.queue_s > mean_s:
            raise PriceError(
                f"pull_s {self.pull_s:g} and queue_s {self.queue_s:g} are parts of cold_start_s {mean_s:g}: "
                "together they cannot be longer"
            )
        shares = (self.queue_s / mean_s, self.pull_s / mean_s) if mean_s else (0.0, 0.0)
        hit = None if self.hit_s is None else parse(str(self.hit_s))
        return Workload(
            exec=parse(str(self.service_s)),
            cold=Cold(length, queue_share=shares[0], pull_share=shares[1], hit=hit, hit_tau_s=self.hit_tau_s),
            memory_gb=self.memory_gb,
            vcpu=self.vcpu,
            gpu=self.gpu,
            gpu_memory_gb=self.gpu_memory_gb,
            image_gb=self.image_mb / 1000,
            basis=basis,
        )


class ModelEntry(Need, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of a models file."""

    name: str
    requests_per_month: Positive
    profile: str = "steady"


def read_models(path: Path) -> list[Model]:
    """Several models from YAML (a list of ModelEntry). Raises PriceError naming the entry."""
    try:
        data: Any = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PriceError(f"{path}: cannot read the models: {error}") from error
    if not isinstance(data, list) or not data:
        raise PriceError(f"{path}: a list of models is needed, each with name, service_s, cold_start_s, ...")
    models = []
    for number, item in enumerate(data, 1):
        try:
            entry = msgspec.convert(item, ModelEntry)
            models.append(Model(entry.name, entry.workload(), profile(entry.profile, entry.requests_per_month)))
        except (msgspec.ValidationError, PriceError) as error:
            raise PriceError(f"{path}: model {number}: {error}") from error
    return models


def traffic(
    requests_per_month: float | None, name: str, log: Path | None, trace: tuple[Path, ...], function: str | None
) -> Arrivals:
    """The arrivals a user asked for. Raises PriceError where none or two sources are named."""
    sources = [s for s in (requests_per_month, log, trace or None) if s is not None]
    if len(sources) != 1:
        raise PriceError("name one traffic: --requests-per-month N [--profile NAME], --log FILE, or --trace FILE")
    if log is not None:
        return open_log(log)
    if trace:
        return _one_function(trace, function)
    assert requests_per_month is not None
    return profile(name, requests_per_month)


def read_trace(paths: tuple[Path, ...]) -> list[traces.MinuteTrace] | list[traces.InvocationTrace]:
    """Either public format, told apart by the header."""
    try:
        with paths[0].open(newline="", encoding="utf-8") as file:
            head = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PriceError(f"{paths[0]}: cannot read the trace: {error}") from error
    if head[:1] == ["app"]:
        if len(paths) > 1:
            raise PriceError("an invocation trace (2021) is one file")
        return traces.read_2021(paths[0])
    return traces.read_2019(paths)


def _one_function(paths: tuple[Path, ...], function: str | None) -> Arrivals:
    """The named function of a trace, or the busiest."""
    found = {t.name: t for t in read_trace(paths)}
    if not found:
        raise PriceError(f"{paths[0]}: the trace has no function")
    if function is None:
        function = max(found, key=lambda n: found[n].rate)
    if function not in found:
        raise PriceError(unknown("function of the trace", function, sorted(found)[:20]))
    chosen = found[function]
    if chosen.rate <= 0:
        raise PriceError(f"{paths[0]}: function {function} has no request in the trace")
    return chosen
