"""What a converter and an accuracy check are: the data they get and give. Pure; the effects are in their modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lukewarm.convert.source import Source
from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.spec import ModelSpec

Progress = Callable[[str, float | None], None]  # (what is happening, fraction done or None)


@dataclass(frozen=True)
class ConvertOptions:
    """How one run of `convert_model` behaves."""

    force: bool = False  # convert although an equal bundle exists
    check_accuracy: bool = True
    keep_over_budget: bool = False  # keep a bundle that lost more than its budget


@dataclass(frozen=True, kw_only=True)
class Job:
    """One conversion. Converters write into `out` (becomes the bundle) and `scratch` (is removed), nowhere else."""

    spec: ModelSpec
    source: Source
    out: Path
    scratch: Path
    cache: Path  # kept between runs: reference outputs of the source
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What a converter says beside the files it wrote."""

    options: Mapping[str, Any] = field(default_factory=dict)  # the backend's own, into the manifest
    packages: tuple[str, ...] = ()  # distributions whose versions the manifest shall name
    max_context_tokens: int | None = None  # where this conversion reaches less far than its source


class Converter(Protocol):
    """One way from a source to one backend.

    One of another package may also have `open(name, base, cache) -> Source`, for a source that is no Hugging Face
    folder, and `measure`, its own accuracy check (a Measure, or None: nothing is measured).
    """

    packages: tuple[str, ...]  # distributions whose versions belong into the bundle's key

    def check(self, source: Source, precision: str) -> None:
        """Refuse what cannot work, before anything heavy is imported. Raises UnsupportedError, SourceError."""

    def convert(self, job: Job) -> Converted:
        """Write weights and tokenizer into `job.out`."""


class Measure(Protocol):
    """The accuracy check of one task."""

    def measure(self, job: Job, bundle: Bundle) -> dict[str, float]:
        """Compare the finished bundle with the source in fp32, through the Predictor that will ship."""

    def over_budget(self, spec: ModelSpec, measured: Mapping[str, float]) -> list[str]:
        """One sentence per exceeded limit; empty: within budget."""
