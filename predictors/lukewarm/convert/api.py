"""From a spec to a bundle: check, skip what is done, convert beside the target, measure, then publish by a rename."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lukewarm.convert import manifest as manifests
from lukewarm.convert import table, weights
from lukewarm.convert.job import Converted, Converter, ConvertOptions, Job, Measure, Progress
from lukewarm.convert.source import Source, open_source
from lukewarm.convert.storage import explained, locked, repair, staged
from lukewarm.predictors.bundle import Bundle, Manifest, directory_name, list_files, sha256, write_manifest
from lukewarm.predictors.errors import (
    AccuracyError,
    BundleError,
    LukewarmError,
    MissingExtra,
    SpecError,
    StorageError,
    UnsupportedError,
)
from lukewarm.predictors.predictor import check_supported
from lukewarm.predictors.registry import BACKENDS
from lukewarm.predictors.spec import ModelSpec, Task

_DEFAULTS = ConvertOptions()


def _silent(_message: str, _fraction: float | None) -> None:
    pass


def convert_model(
    spec: ModelSpec,
    spec_dir: Path,
    bundles_dir: Path,
    *,
    options: ConvertOptions = _DEFAULTS,
    progress: Progress = _silent,
) -> Bundle:
    """Convert `spec.source` to the bundle of `spec.backend` and `spec.precision`; equal to the last run: no work.

    Raises SourceError, UnsupportedError, AccuracyError, StorageError, MissingExtra; then no bundle is left behind
    (an older one stays).
    """
    spec = _normal(spec)
    check_supported(spec.backend, spec.task, spec.precision)
    cache = _cache_dir(bundles_dir)
    target = bundles_dir / directory_name(spec.name, spec.backend, spec.precision)
    converter = None if spec.backend in table.WITHOUT_MODEL else table.converter(spec.task, spec.backend)
    with explained(target):
        source = None if converter is None else _source(spec, converter, spec_dir, cache)
    spec, texts = _texts(spec, spec_dir)
    key = manifests.key(spec, source, converter.packages if converter else (), texts)
    run = _Run(spec, source, converter, key, options)
    try:
        with locked(target):
            return _made(run, target, cache, progress)
    except StorageError:
        # a project that is mounted read-only is as good, if its bundle is what this run would make
        if options.force or (done := _unchanged(target, key, spec, options)) is None:
            raise
        progress(f"{target.name}: unchanged", 1.0)
        return done


def _made(run: _Run, target: Path, cache: Path, progress: Progress) -> Bundle:
    """The bundle, as it is or made now. Call under `locked(target)`."""
    with explained(target):
        repair(target)
    if not run.options.force and (done := _unchanged(target, run.key, run.spec, run.options)):
        progress(f"{target.name}: unchanged", 1.0)
        return done
    if run.source and run.converter:
        run.converter.check(run.source, run.spec.precision)
    with staged(target) as temp:
        _build(run, temp, cache, progress)
    progress(f"{target.name}: done", 1.0)
    return Bundle.open(target)


def _cache_dir(bundles_dir: Path) -> Path:
    """Beside the bundles in our own state folder; inside a folder that is the user's."""
    return bundles_dir.parent / "cache" if bundles_dir.parent.name == ".lukewarm" else bundles_dir / ".cache"


@dataclass(frozen=True)
class _Run:
    spec: ModelSpec
    source: Source | None
    converter: Converter | None
    key: str
    options: ConvertOptions


def _normal(spec: ModelSpec) -> ModelSpec:
    """A user's own class is the backend `custom`; both it and `echo` have one precision."""
    backend = "custom" if spec.predictor else spec.backend
    precision = "none" if backend in table.WITHOUT_MODEL else spec.precision
    task = "custom" if spec.predictor else spec.task
    return msgspec.structs.replace(spec, backend=backend, precision=precision, task=task)


def _source(spec: ModelSpec, converter: Converter, spec_dir: Path, cache: Path) -> Source:
    if spec.source is None:
        raise SpecError(f"no source model for backend {spec.backend!r}; add: source: DIR or org/model", "source")
    opened: Source = getattr(converter, "open", open_source)(spec.source, spec_dir, cache)
    return opened


def _texts(spec: ModelSpec, spec_dir: Path) -> tuple[ModelSpec, str | None]:
    """The spec with an absolute `accuracy.texts`, and that file's digest."""
    if spec.accuracy.texts is None:
        return spec, None
    path = (spec_dir / spec.accuracy.texts).resolve()
    if not path.is_file():
        raise SpecError(f"there is no file {path}", "accuracy.texts")
    accuracy = msgspec.structs.replace(spec.accuracy, texts=str(path))
    return msgspec.structs.replace(spec, accuracy=accuracy), sha256(path)


def _unchanged(target: Path, key: str, spec: ModelSpec, options: ConvertOptions) -> Bundle | None:
    """The bundle that is there, if it is what this run would make: same key, files intact, quality as asked."""
    try:
        bundle = Bundle.open(target, verify=True)
    except BundleError:
        return None
    measured = bundle.manifest.accuracy
    if bundle.manifest.key != key:
        return None
    measure = table.measure(spec.task, spec.backend) if options.check_accuracy else None
    if measure is None or spec.backend in table.WITHOUT_MODEL:
        return bundle
    if not measured or (measure.over_budget(spec, measured) and not options.keep_over_budget):
        return None
    return bundle


def _build(run: _Run, temp: Path, cache: Path, progress: Progress) -> None:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before any import of onnxruntime
    made = Converted()
    if run.source is None or run.converter is None:
        _write(temp, manifests.make(run.spec, None, made, run.key))
        return
    progress(f"{run.spec.name}: checking the weights", None)
    weights.check_no_nan(run.source.tensors)
    scratch = temp / ".scratch"
    scratch.mkdir()
    job = Job(spec=run.spec, source=run.source, out=temp, scratch=scratch, cache=cache, progress=progress)
    try:
        made = run.converter.convert(job)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{error.name}, needed to convert,", "convert") from error
    except (LukewarmError, OSError, MemoryError):
        raise
    except Exception as error:  # converters run code of models and libraries that nobody here has seen
        raise _not_convertible(job, error) from error
    shutil.rmtree(scratch)
    manifest = manifests.make(run.spec, run.source, made, run.key)
    _write(temp, manifest)
    measure = table.measure(run.spec.task, run.spec.backend)
    if run.options.check_accuracy and measure is not None:
        _write(temp, msgspec.structs.replace(manifest, accuracy=_measured(run, job, measure, Bundle.open(temp))))


def _measured(run: _Run, job: Job, measure: Measure, bundle: Bundle) -> dict[str, float]:
    """The accuracy check's figures. Raises AccuracyError over budget, UnsupportedError if the model does not run."""
    spec = run.spec
    job.progress(f"{spec.name}: measuring accuracy", None)
    try:
        measured = measure.measure(job, bundle)
    except (LukewarmError, OSError, MemoryError):
        raise
    except Exception as error:  # as above: now the runtime's code, on the model that was converted
        raise _not_convertible(job, error, "does not run as converted") from error
    lost = measure.over_budget(spec, measured)
    if not lost or run.options.keep_over_budget:
        return measured
    # nothing was rounded at fp32: the backend computes something else than the source does
    way = _other_backends(job) if spec.precision == "fp32" else "choose another precision"
    raise AccuracyError(
        f"{spec.name} on {spec.backend} at {spec.precision} lost too much: {'; '.join(lost)}; "
        f"{way}, raise the budget (accuracy: in the spec), or use --keep-over-budget",
        measured,
    )


def _not_convertible(job: Job, error: Exception, what: str = "cannot be converted") -> UnsupportedError:
    reason = " ".join(str(error).split())[:300]
    return UnsupportedError(
        f"{job.source.architecture} {what} for {job.spec.backend} ({type(error).__name__}: {reason}); "
        + _other_backends(job)
    )


def _other_backends(job: Job) -> str:
    spec = job.spec
    able = sorted(
        name
        for task, name in table.CONVERTERS
        if task == spec.task and name != spec.backend and _may(task, name, job.source)
    )
    return f"try backend {' or '.join(able)}" if able else "serve it with your own class (predictor: module:Class)"


def _may(task: Task, backend: str, source: Source) -> bool:
    """Whether nothing known speaks against this backend: no advice to go where the next refusal waits."""
    try:
        table.converter(task, backend).check(source, BACKENDS.load(backend).support[task][0])
    except LukewarmError:
        return False
    return True


def _write(root: Path, manifest: Manifest) -> None:
    write_manifest(root, msgspec.structs.replace(manifest, files=list_files(root)))
