"""`lukewarm convert`: source model to bundles, one or all that the model can have."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import click
import msgspec

from lukewarm.cli.common import (
    Progress,
    Project,
    json_option,
    open_project,
    precision_for,
    print_json,
    progress,
    spec_option,
)
from lukewarm.predictors.errors import (
    AccuracyError,
    LukewarmError,
    MissingExtra,
    SpecError,
    UnsupportedError,
    unknown,
)
from lukewarm.predictors.spec import ModelSpec, Task

# figures worth a place in the one line, and how they read there
_FIGURES = {
    "perplexity_ratio": "perplexity ×{:.3f}",
    "top1_agreement": "top-1 {:.1%}",
    "logit_mean_diff": "logits ±{:.2g}",
    "long_perplexity_ratio": "far out ×{:.3f}",
    "bleu": "BLEU {:.1f}",
    "bleu_drop": "BLEU lost {:.1f}",
    "chrf": "chrF {:.1f}",
    "cosine_mean": "cosine {:.4f}",
    "cosine_min": "cosine {:.4f} at least",
}


@dataclass(frozen=True)
class Outcome:
    """What became of one backend and precision."""

    bundle: str
    backend: str
    precision: str
    seconds: float
    path: str = ""
    bytes: int = 0
    unchanged: bool = False
    accuracy: dict[str, float] = field(default_factory=dict)
    refused: str = ""  # why there is no bundle


@click.command()
@spec_option
@click.option("--backend", "backends", multiple=True, help="May be given several times. Default: the spec's.")
@click.option("--precision", "precisions", multiple=True, help="May be given several times. Default: the spec's.")
@click.option("--all", "every", is_flag=True, help="Every backend and precision that can carry the task.")
@click.option("--force", is_flag=True, help="Convert although nothing changed.")
@click.option("--keep-over-budget", is_flag=True, help="Keep a bundle that lost more quality than its budget.")
@click.option("--no-accuracy", is_flag=True, help="Do not measure; the bundle then says nothing of its quality.")
@click.option("--source", help="Folder or org/model, instead of the spec's; without a spec, the model to convert.")
@click.option("--task", type=click.Choice(get_args(Task)), help="Without a spec; default text-generation.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the bundles; default .lukewarm/bundles.")
@json_option
def convert(
    spec_path: Path, backends: tuple[str, ...], precisions: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Convert the source model into bundles: weights at the wanted precision, tokenizer, sha256, measured accuracy.

    Nothing is done for a bundle that is up to date. A bundle appears whole or not at all.

    \b
    Example: lukewarm convert
             lukewarm convert --backend ort --precision int8 --precision fp32
             lukewarm convert --source ./my-model --backend ct2 --precision int8 --out bundles
    """
    project, bundles = _project(spec_path, options)
    pairs = _pairs(project.spec, backends, precisions, every=options["every"])
    show = progress(quiet=as_json)
    several = len(pairs) > 1
    outcomes: list[Outcome] = []
    failed: LukewarmError | None = None
    for backend, precision in pairs:
        spec = msgspec.structs.replace(project.spec, backend=backend, precision=precision)
        try:
            outcomes.append(_one(spec, project.root, bundles, options, show))
        except (UnsupportedError, MissingExtra, AccuracyError) as error:
            if not several:
                raise
            outcomes.append(Outcome(spec.name, backend, precision, 0.0, refused=str(error)))
            # of many, some a model cannot have; but lost quality is for the user to decide on
            if isinstance(error, AccuracyError) or not options["every"]:
                failed = failed or error
        if not as_json:
            click.echo(_line(outcomes[-1]))
    if as_json:
        print_json(outcomes)
    if failed is not None:
        raise failed
    if not any(outcome.path for outcome in outcomes):
        raise UnsupportedError(f"no bundle could be made of {project.spec.source}; the reasons stand above")


def _project(spec_path: Path, options: dict[str, Any]) -> tuple[Project, Path]:
    """The spec to work with, and where bundles go. Without a spec file `--source` is one."""
    source = options["source"]
    try:
        project = open_project(spec_path)
    except SpecError:
        if source is None or spec_path != Path():
            raise
        name = re.sub(r"[^a-z0-9]+", "-", Path(source.partition("@")[0]).name.lower()).strip("-")[:63]
        spec = ModelSpec(name=name or "model", source=source, task=options["task"] or "text-generation")
        project = Project(spec, Path.cwd())
    else:
        if source is not None:
            # relative to where the command is typed, unlike the spec's own
            given = str(Path(source).resolve()) if Path(source).is_dir() else source
            project = Project(msgspec.structs.replace(project.spec, source=given), project.root)
        if options["task"] not in (None, project.spec.task):
            raise click.UsageError(f"the spec says task: {project.spec.task}; --task is for use without a spec")
    return project, (options["out"] or project.bundles).absolute()


def _pairs(
    spec: ModelSpec, backends: Sequence[str], precisions: Sequence[str], *, every: bool
) -> list[tuple[str, str]]:
    """Backend and precision of each bundle to make. Raises UnsupportedError for names that nobody knows."""
    from lukewarm.convert import table
    from lukewarm.predictors.registry import BACKENDS

    if spec.predictor:
        return [("custom", "none")]
    if every and not backends:
        backends = table.backends(spec.task)
    pairs: list[tuple[str, str]] = []
    for backend in backends or [spec.backend]:
        known = BACKENDS.load(backend).support.get(spec.task, ())
        if precisions:
            wanted = [name for name in precisions if name in known]
        elif every:
            wanted = list(known)
        else:
            wanted = [precision_for(spec, backend)]
        pairs += [(backend, name) for name in wanted]
    everywhere = {name for backend in backends or [spec.backend] for name in _precisions(backend, spec.task)}
    if strange := [name for name in precisions if name not in everywhere]:
        raise UnsupportedError(unknown(f"precision for {spec.task}", strange[0], everywhere))
    return pairs


def _precisions(backend: str, task: Task) -> tuple[str, ...]:
    from lukewarm.predictors.registry import BACKENDS

    return tuple(BACKENDS.load(backend).support.get(task, ()))


def _one(spec: ModelSpec, root: Path, bundles: Path, options: dict[str, Any], show: Progress) -> Outcome:
    from lukewarm.convert import ConvertOptions, convert_model

    chosen = ConvertOptions(
        force=options["force"],
        check_accuracy=not options["no_accuracy"],
        keep_over_budget=options["keep_over_budget"],
    )
    unchanged = False

    def watch(message: str, fraction: float | None) -> None:
        nonlocal unchanged
        unchanged = unchanged or message.endswith(": unchanged")
        if fraction is None:
            show(message, fraction)

    start = time.monotonic()
    bundle = convert_model(spec, root, bundles, options=chosen, progress=watch)
    manifest = bundle.manifest
    return Outcome(
        bundle=bundle.root.name,
        backend=manifest.backend,
        precision=manifest.precision,
        seconds=round(time.monotonic() - start, 1),
        path=str(bundle.root),
        bytes=bundle.total_bytes,
        unchanged=unchanged,
        accuracy=manifest.accuracy,
    )


def _line(outcome: Outcome) -> str:
    if outcome.refused:
        return f"{outcome.bundle}-{outcome.backend}-{outcome.precision}: refused: {outcome.refused}"
    figures = [form.format(outcome.accuracy[key]) for key, form in _FIGURES.items() if key in outcome.accuracy]
    parts = [
        f"{outcome.bytes / 1e6:.1f} MB",
        "unchanged" if outcome.unchanged else f"{outcome.seconds:.1f} s",
        *figures,
    ]
    return f"{outcome.bundle}: {', '.join(parts)}"
