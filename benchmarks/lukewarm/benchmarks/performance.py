"""The `performance` suite: what the bars of docs/performance.md are judged by, each part under its own conditions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import msgspec

from lukewarm.benchmarks import bench, gpt2, models, plan
from lukewarm.benchmarks.contenders import bare, fork, seq2seq
from lukewarm.benchmarks.distill import evaluate
from lukewarm.benchmarks.record import Case, Record, Settings
from lukewarm.benchmarks.rounds import Bench, Job
from lukewarm.benchmarks.turns import Progress
from lukewarm.predictors.errors import LukewarmError
from lukewarm.predictors.spec import Accuracy, ModelSpec

SUITE = "performance"
TRANSLATION = "marian-en-pt"
# those that the bars speak of; the bench suite measures the others
BACKENDS = ("ort", "ct2")
PRECISIONS = ("fp32", "int8", "int4", "dynamic-int8")
DJANGO = models.Package(
    requirement="django==5.2.19", sha256="5965d974a5218a2b68a11dd1276434707f23886525c23f0598eccedaf4f4ca00", wanted=()
)
COST_PRECISIONS = ("fp32", "int8")


def run(call: bench.Run, progress: Progress) -> list[Record]:
    """Measure every part and write the rows, suite `performance` and `performance-…`; the report judges them."""
    batches = (1, 8) if call.choice.quick else (1, 8, 32)
    # one warm run of each process: processes differ more than runs in one, and the rounds take half an hour as it is
    settings = msgspec.structs.replace(call.settings, batches=batches, warm_runs=1)
    wanted = call.choice
    choice = dataclasses.replace(
        wanted, backends=wanted.backends or BACKENDS, precisions=wanted.precisions or PRECISIONS
    )
    call = dataclasses.replace(call, settings=settings, choice=choice)
    jobs = [job for spec in _specs(call, progress) for job in plan.jobs(spec, choice, call.place, settings, progress)]
    few = min(settings.rounds, 3)
    lean = msgspec.structs.replace(settings, warm_runs=0, warm_limit_s=1.0)
    records = _part(call, SUITE, settings, [*jobs, *_translation(call, progress)], progress)
    own = [job for job in jobs if job.case.model != gpt2.NAME]  # starts, memory and warm latency are what it is for
    dropped = msgspec.structs.replace(lean, page_cache="dropped")
    records += _part(call, f"{SUITE}-dropped", dropped, own, progress)
    forked = msgspec.structs.replace(lean, rounds=few)
    ours = [job for job in own if job.case.backend in BACKENDS]
    records += _part(call, f"{SUITE}-fork", forked, _with(ours, fork.__name__, ()), progress)
    cost = msgspec.structs.replace(lean, rounds=few)
    compared = [job for job in own if job.case.backend in bare.LOOPS]
    records += _part(call, f"{SUITE}-cost", cost, _with(compared, bare.__name__, COST_PRECISIONS), progress)
    return records


def _part(call: bench.Run, suite: str, settings: Settings, jobs: Sequence[Job], progress: Progress) -> list[Record]:
    """Measure one part and save its rows at once: a later part that is interrupted costs nothing that was done."""
    records = Bench(settings, call.out, suite=suite, resume=call.resume, progress=progress).measure(jobs)
    bench.save(call.out / bench.RECORDS, records, suite, keep=call.resume)
    return records


def _with(jobs: Sequence[Job], extra: str, precisions: tuple[str, ...]) -> list[Job]:
    """The jobs of these precisions (all, if none are named) with one extra measurement each."""
    chosen = [job for job in jobs if not precisions or job.case.precision in precisions]
    return [dataclasses.replace(job, extra=(extra,)) for job in chosen]


def _specs(call: bench.Run, progress: Progress) -> list[ModelSpec]:
    """The spec's own model and, for timing at a shape that everybody knows, GPT-2 with random weights."""
    spec = call.spec
    if spec.task != "text-generation" or spec.source is None or not (call.place.spec_dir / spec.source).is_dir():
        return [spec]
    progress(f"{gpt2.NAME}: making random weights", None)
    folder = gpt2.prepare(call.place.spec_dir / ".models" / gpt2.NAME, call.place.spec_dir / spec.source)
    return [ModelSpec(name=gpt2.NAME, source=str(folder)), spec]


def _translation(call: bench.Run, progress: Progress) -> list[Job]:
    """The translation model on its baseline and on ct2 and ort, or one row that says why not."""
    case = Case(backend=seq2seq.BACKEND, precision="fp32", model=TRANSLATION, task="text-to-text")
    place = call.place.spec_dir / ".models"
    try:
        folder = models.prepare(TRANSLATION, place / TRANSLATION, lambda text: progress(text, None))
        texts = _references(place)
    except LukewarmError as error:
        return [Job(case=case, contender="", reason=str(error))]
    spec = ModelSpec(name=TRANSLATION, source=str(folder), task="text-to-text", accuracy=Accuracy(texts=str(texts)))
    choice = dataclasses.replace(call.choice, baseline=False)
    made = plan.jobs(spec, choice, call.place, call.settings, progress)
    # one model only: its sentences take a quarter of the tokens that they may
    inputs = next((job.inputs for job in made if job.inputs), ("",))
    base = Job(
        case=case,
        contender=seq2seq.__name__,
        path=Path(folder),
        inputs=inputs,
        requirements=("torch", "transformers", "sentencepiece"),  # the Marian tokenizer's
        bundle_digest=next((job.bundle_digest for job in made), ""),
    )
    return [base, *made]


def _references(place: Path) -> Path:
    """Sentences with a translation by people, to count BLEU on: Django's interface strings. Raises SourceError."""
    file = place / "django-pt.tsv"
    if not file.is_file():
        pairs = evaluate.django_pairs(models.fetch(DJANGO, place / ".packages"))
        temporary = file.with_suffix(".new")
        temporary.write_text("".join(f"{source}\t{target}\n" for source, target in pairs), "utf-8")
        temporary.replace(file)
    return file
