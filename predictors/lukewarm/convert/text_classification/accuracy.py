"""Accuracy of a classification bundle: agreement of the best label, and the scores' differences, against the source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lukewarm.convert.embeddings.accuracy import passages
from lukewarm.convert.job import Job
from lukewarm.convert.loading import load_model
from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.embeddings import pad
from lukewarm.predictors.errors import SourceError
from lukewarm.predictors.predictor import Runtime, load_predictor
from lukewarm.predictors.spec import ModelSpec
from lukewarm.predictors.text_classification import TextClassifier, apply

# limits where the spec sets none: (agreement of the best label, mean difference of scores)
_LIMITS = {"fp32": (0.99, 1e-3), "fp16": (0.95, 1e-2), "bf16": (0.9, 5e-2)}
_LIMITS_QUANTIZED = (0.9, 5e-2)


class ClassificationAccuracy:
    """`top1_agreement`, `score_mean_diff`, `score_max_diff`."""

    def measure(self, job: Job, bundle: Bundle) -> dict[str, float]:
        import numpy as np

        predictor = load_predictor(bundle, Runtime(device="cpu"))
        assert isinstance(predictor, TextClassifier)
        try:
            rows = predictor.token_rows(passages(job.spec))
            found = np.concatenate([predictor.scores([row]) for row in rows])
        finally:
            predictor.close()
        job.progress(f"{job.spec.name}: running the source in fp32 for reference", None)
        model = load_model(job.source, "AutoModelForSequenceClassification")
        function = str(bundle.manifest.options["function"])
        types = bool(bundle.manifest.options.get("token_types"))
        wanted = np.concatenate([apply(function, _logits(model, row, types)) for row in rows])
        if not np.isfinite(wanted).all():
            raise SourceError(f"{job.source.root} computes values that are not numbers: its weights are damaged")
        difference = np.abs(found - wanted)
        return {
            "top1_agreement": float((found.argmax(-1) == wanted.argmax(-1)).mean()),
            "score_mean_diff": float(difference.mean()),
            "score_max_diff": float(difference.max()),
        }

    def over_budget(self, spec: ModelSpec, measured: Mapping[str, float]) -> list[str]:
        least, most = _LIMITS.get(spec.precision, _LIMITS_QUANTIZED)
        if spec.accuracy.min_top1_agreement is not None:
            least = spec.accuracy.min_top1_agreement
        lost = []
        if not measured["top1_agreement"] >= least:
            lost.append(f"best labels agree in {measured['top1_agreement']:.3f}, at least {least:g} wanted")
        if spec.accuracy.min_top1_agreement is None and not measured["score_mean_diff"] <= most:
            lost.append(f"scores differ by {measured['score_mean_diff']:.4f} in the mean, allowed {most:g}")
        return lost


def _logits(model: Any, row: list[int], types: bool) -> Any:
    import torch

    ids, mask = (torch.from_numpy(array) for array in pad([row], 0))
    given = {"token_type_ids": torch.zeros_like(ids)} if types else {}
    with torch.inference_mode():
        return model(input_ids=ids, attention_mask=mask, **given).logits.numpy()


measure = ClassificationAccuracy()
