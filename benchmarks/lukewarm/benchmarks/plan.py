"""From a spec to jobs: which backends and precisions are measured, converted first where a bundle is missing."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lukewarm.adapters.closure import closed_list
from lukewarm.adapters.requirements import runtime_requirements
from lukewarm.benchmarks import prompts
from lukewarm.benchmarks.contenders import pipeline
from lukewarm.benchmarks.record import Case, Settings
from lukewarm.benchmarks.rounds import Job
from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.errors import LukewarmError, MissingExtra, UnsupportedError, unknown
from lukewarm.predictors.registry import BACKENDS
from lukewarm.predictors.spec import ModelSpec

Progress = Callable[[str, float | None], None]
Convert = Callable[[ModelSpec], Bundle]
QUICK_PRECISIONS = {"ort": ("fp32", "int8"), "ct2": ("fp32", "int8"), "hf": ("fp32",), "bnb": ("int8",)}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the user asked for; empty: everything that the spec's task has."""

    backends: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    baseline: bool = True
    quick: bool = False


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a spec stands and where its bundles go."""

    spec_dir: Path
    bundles_dir: Path


def combinations(spec: ModelSpec, choice: Choice) -> Iterator[tuple[str, str, str]]:
    """(backend, precision, reason it cannot be measured or ""), in the order of the registry and of its tables."""
    known = BACKENDS.names()
    for name in choice.backends:
        if name not in known:
            raise UnsupportedError(unknown("backend", name, known))
    if spec.predictor and not choice.backends:
        yield "custom", "none", ""  # the user's class says itself which task it does
        return
    found = False
    for backend in choice.backends or _usual(spec):
        try:
            support = BACKENDS.load(backend).support.get(spec.task, ())
        except MissingExtra as error:
            yield backend, "", str(error)
            continue
        wanted = [p for p in support if not choice.precisions or p in choice.precisions]
        if choice.quick and not choice.precisions:
            wanted = [p for p in wanted if p in QUICK_PRECISIONS.get(backend, wanted)]
        for precision in wanted:
            found = True
            yield backend, precision, ""
    if not found:
        raise UnsupportedError(
            f"nothing to measure: no backend of {', '.join(choice.backends) or 'all'} does {spec.task}"
            f"{' at ' + ', '.join(choice.precisions) if choice.precisions else ''}; see docs/tasks.md"
        )


def _usual(spec: ModelSpec) -> list[str]:
    """All that have a model; the model-free floor is compared with nobody."""
    if spec.backend == "echo":
        return ["echo"]
    return [name for name in BACKENDS.names() if name not in ("echo", "custom")]


def jobs(spec: ModelSpec, choice: Choice, place: Place, settings: Settings, progress: Progress) -> list[Job]:
    """One job per case, the baseline first. A case that cannot be converted becomes a job with a reason."""
    made = [job for job in (_baseline(spec, place, settings),) if choice.baseline and job]
    for backend, precision, reason in combinations(spec, choice):
        case = Case(backend=backend, precision=precision, model=spec.name, task=spec.task)
        if reason:
            made.append(Job(case=case, contender="", reason=reason, skipped=True))
            continue
        wanted = msgspec.structs.replace(spec, backend=backend, precision=precision)
        try:
            bundle = convert(wanted, place, progress)
        except LukewarmError as error:  # one backend's refusal is a row of the report, not the end of the run
            made.append(Job(case=case, contender="", reason=str(error), skipped=isinstance(error, UnsupportedError)))
            continue
        made.append(bundle_job(bundle, case, settings))
    return made


def convert(spec: ModelSpec, place: Place, progress: Progress) -> Bundle:
    """The bundle of one backend and precision, converted unless it is there; kept although it lost too much quality."""
    from lukewarm.convert import ConvertOptions, convert_model

    options = ConvertOptions(keep_over_budget=True)
    return convert_model(spec, place.spec_dir, place.bundles_dir, options=options, progress=progress)


def bundle_job(bundle: Bundle, case: Case, settings: Settings) -> Job:
    """Measure a bundle through lukewarm's Predictor."""
    extra = BACKENDS.row(case.backend).extra
    tokenizer = bundle.path("tokenizer.json") if bundle.has("tokenizer.json") else None
    accuracy = bundle.manifest.accuracy
    task = bundle.manifest.task
    packages = runtime_requirements(case.backend, None, asgi=True, task=task) if extra else ()
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    image = closed_list(packages, case.backend, task, python) if extra else None
    return Job(
        case=case,
        contender="lukewarm.benchmarks.contenders.bundle",
        path=bundle.root,
        inputs=prompts.inputs(case.task, settings.prompt_tokens, tokenizer),
        requirements=(f"lukewarm[{extra}]" if extra else "lukewarm",),
        packages=packages if image else (),  # else their index decides what pip brings
        image=image or (),
        bundle_digest=bundle.digest,
        bundle_bytes=bundle.total_bytes,
        accuracy=accuracy,
        accuracy_from="conversion" if accuracy else "",
    )


def _baseline(spec: ModelSpec, place: Place, settings: Settings) -> Job | None:
    """transformers.pipeline on the source model; None where the task has no pipeline or there is no source."""
    if spec.source is None or spec.predictor or spec.backend == "echo" or spec.task not in pipeline.TASKS:
        return None
    from lukewarm.convert import open_source

    case = Case(backend=pipeline.BACKEND, precision="fp32", model=spec.name, task=spec.task)
    try:
        source = open_source(spec.source, place.spec_dir, place.bundles_dir.parent / "cache")
    except LukewarmError as error:
        return Job(case=case, contender="", reason=str(error))
    files = [path for path in source.root.iterdir() if path.suffix in (".safetensors", ".json", ".txt", ".model")]
    return Job(
        case=case,
        contender="lukewarm.benchmarks.contenders.pipeline",
        path=source.root,
        inputs=prompts.inputs(spec.task, settings.prompt_tokens, source.root / "tokenizer.json"),
        requirements=pipeline.REQUIREMENTS,
        bundle_digest=source.digest,
        bundle_bytes=sum(path.stat().st_size for path in files),
    )


def with_variant(job: Job, variant: str, **options: object) -> Job:
    """The same bundle with runtime switches of its own."""
    case = msgspec.structs.replace(job.case, variant=variant)
    return dataclasses.replace(job, case=case, options={**job.options, **options})
