"""Accuracy of a text-generation bundle: perplexity and logits against the source in fp32, token by token.

The bundle is measured through the Predictor that will ship, on text that comes with Python. Reference outputs are kept
in the cache, so that eight conversions of one source compute them once. Short rows give the figures; one long row,
reported apart and held to the same budget, shows what goes wrong far out only (`far.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from lukewarm.convert import far, frameworks, texts
from lukewarm.convert.job import Job
from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.errors import SourceError
from lukewarm.predictors.generation import Scorer
from lukewarm.predictors.predictor import Runtime, load_predictor
from lukewarm.predictors.spec import ModelSpec

# limits where the spec sets none: wide enough for what a precision costs by nature, far below noise
_MAX_PERPLEXITY_RATIO = {"fp32": 1.01, "fp16": 1.1, "bf16": 1.1}
_MAX_PERPLEXITY_RATIO_QUANTIZED = 1.5
# the same numbers in another order of sums: the best token is another one in close calls only
_MIN_TOP1_AGREEMENT = {"fp32": 0.97}
_KEPT_REFERENCES = 2
_MAX_EXPONENT = 700.0


class TextGenerationAccuracy:
    """Perplexity, differences of the logits, agreement of the best token."""

    def measure(self, job: Job, bundle: Bundle) -> dict[str, float]:
        import numpy as np

        ids, long = _rows(job, bundle)
        path, long_path = _reference(job, ids, long)
        reference = np.load(path, mmap_mode="r")
        predictor = load_predictor(bundle, Runtime(device="cpu"))
        try:
            scorer = cast(Scorer, predictor)
            measured = _summary([_compare(row, reference[place], scorer.score(row)) for place, row in enumerate(ids)])
            if long is None:
                return measured
            return measured | far.figures(far.summary(long, scorer.score(long)), np.load(long_path))
        finally:
            predictor.close()

    def over_budget(self, spec: ModelSpec, measured: Mapping[str, float]) -> list[str]:
        budget = spec.accuracy
        ratio = budget.max_perplexity_ratio or _MAX_PERPLEXITY_RATIO.get(
            spec.precision, _MAX_PERPLEXITY_RATIO_QUANTIZED
        )
        lost = []
        # "not within" and not "over": a NaN is neither
        if not measured["perplexity_ratio"] <= ratio:
            lost.append(
                f"perplexity {measured['perplexity']:.4g} against {measured['perplexity_reference']:.4g} "
                f"(ratio {measured['perplexity_ratio']:.3f}, allowed {ratio:g})"
            )
        if not measured.get("long_perplexity_ratio", 1.0) <= ratio:
            lost.append(
                f"perplexity ratio {measured['long_perplexity_ratio']:.3f} beyond the first {texts.ROW_TOKENS} tokens "
                f"of a text of {measured['long_tokens']:.0f}, allowed {ratio:g}"
            )
        limit = budget.max_logit_mean_diff
        if limit is not None and not measured["logit_mean_diff"] <= limit:
            lost.append(f"mean logit difference {measured['logit_mean_diff']:.4g}, allowed {limit:g}")
        least = budget.min_top1_agreement
        least = _MIN_TOP1_AGREEMENT.get(spec.precision) if least is None else least
        if least is not None and not measured["top1_agreement"] >= least:
            lost.append(f"top-1 agreement {measured['top1_agreement']:.3f}, at least {least:g} wanted")
        if least is not None and not measured.get("long_top1_agreement", 1.0) >= least:
            lost.append(
                f"top-1 agreement {measured['long_top1_agreement']:.3f} beyond the first {texts.ROW_TOKENS} tokens of "
                f"a text of {measured['long_tokens']:.0f}, at least {least:g} wanted"
            )
        return lost


def _rows(job: Job, bundle: Bundle) -> tuple[list[list[int]], list[int] | None]:
    """Short rows of equal length, and a long one where model and text have room."""
    from lukewarm.predictors.tokenization import Tokenizer

    tokenizer = Tokenizer.load(bundle)
    # special tokens would be the same few in every row
    encode = _Encoder(tokenizer)
    text = texts.read(job.spec.accuracy.texts)
    size = job.source.vocab_size or 1
    room = bundle.manifest.max_context_tokens
    return (
        texts.rows(text, encode, vocab_size=size, context_tokens=job.source.max_context_tokens),
        far.row(text, encode, vocab_size=size, context_tokens=room),
    )


class _Encoder:
    """Text to ids of the vocabulary proper."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def ids(self, text: str) -> list[int]:
        tokenizer = self._tokenizer
        tokenizer.context_tokens = None  # rows are cut to length afterwards
        return list(tokenizer.encode(text, add_special_tokens=False))


def _reference(job: Job, ids: list[list[int]], long: list[int] | None) -> tuple[Path, Path]:
    """Files of the source's outputs in fp32, made once: logits [rows, length, vocab], and `far.summary`."""
    what = json.dumps([job.source.digest, ids, long])
    folder = job.cache / "reference"
    path = folder / f"{hashlib.sha256(what.encode()).hexdigest()[:32]}.npy"
    long_path = path.with_suffix(".long")
    if path.is_file() and (long is None or long_path.is_file()):
        path.touch()
        return path, long_path
    job.progress(f"{job.spec.name}: running the source in fp32 for reference", None)
    logits, far_out = source_outputs(job, ids, long)
    folder.mkdir(parents=True, exist_ok=True)
    if far_out is not None:
        _save(long_path, far_out)
    _save(path, logits)
    for old in sorted(folder.glob("*.npy"), key=lambda file: file.stat().st_mtime)[:-_KEPT_REFERENCES]:
        old.unlink()
        old.with_suffix(".long").unlink(missing_ok=True)
    return path, long_path


def _save(path: Path, array: Any) -> None:
    import numpy as np

    temp = path.with_suffix(".tmp")
    try:
        with temp.open("wb") as stream:
            np.save(stream, array)
        temp.replace(path)
    finally:
        temp.unlink(missing_ok=True)


def source_outputs(job: Job, ids: list[list[int]], long: list[int] | None) -> tuple[Any, Any]:
    """What the source says through transformers in fp32. Raises SourceError if it is not numbers."""
    import numpy as np

    model = frameworks.load_causal_lm(job.source)
    import torch

    def run(row: list[int]) -> Any:
        with torch.inference_mode():
            return model(input_ids=torch.tensor([row]), use_cache=False).logits[0].numpy()

    logits = np.stack([run(row) for row in ids])
    far_out = None if long is None else far.summary(long, run(long))
    if not np.isfinite(logits).all() or (far_out is not None and not np.isfinite(far_out).all()):
        raise SourceError(f"{job.source.root} computes values that are not numbers: its weights are damaged")
    return logits, far_out


def _compare(ids: list[int], reference: Any, found: Any) -> dict[str, float]:
    """One row: logits [length, vocab] of the source and of the bundle."""
    import numpy as np

    if found.shape[-1] != reference.shape[-1]:
        # some runtimes pad the vocabulary, or leave such padding out
        width = min(found.shape[-1], reference.shape[-1])
        found, reference = found[:, :width], reference[:, :width]
    difference = np.abs(found - reference)
    targets = np.array(ids[1:])
    return {
        "nll": _nll(found, targets),
        "nll_reference": _nll(reference, targets),
        "mean": float(difference.mean()),
        "median": float(np.median(difference)),
        "max": float(difference.max()),
        "top1": float((found.argmax(-1) == reference.argmax(-1)).mean()),
    }


def _nll(logits: Any, targets: Any) -> float:
    """Mean negative log likelihood of the tokens that follow."""
    import numpy as np

    scores = np.asarray(logits[:-1], np.float64)
    top = scores.max(-1)
    total = np.log(np.exp(scores - top[:, None]).sum(-1)) + top
    return float((total - scores[np.arange(len(targets)), targets]).mean())


def _summary(rows: list[dict[str, float]]) -> dict[str, float]:
    import numpy as np

    mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    perplexity = _exp(mean["nll"])
    reference = _exp(mean["nll_reference"])
    return {
        "perplexity": perplexity,
        "perplexity_reference": reference,
        "perplexity_ratio": _exp(mean["nll"] - mean["nll_reference"]),
        "logit_mean_diff": mean["mean"],
        "logit_median_diff": mean["median"],
        "logit_max_diff": max(row["max"] for row in rows),
        "top1_agreement": mean["top1"],
    }


def _exp(value: float) -> float:
    """e^value, kept within what JSON can hold; NaN (a broken model) becomes the largest."""
    import math

    return math.exp(min(value, _MAX_EXPONENT)) if value == value else math.exp(_MAX_EXPONENT)


measure = TextGenerationAccuracy()
