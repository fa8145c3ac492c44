"""Accuracy of an embedding bundle: the cosine between its vectors and the source's in fp32, text by text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lukewarm.convert import embeddings, texts
from lukewarm.convert.encoders import arguments
from lukewarm.convert.job import Job
from lukewarm.convert.loading import load_model
from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.embeddings import Embedder, normalize, pad
from lukewarm.predictors.errors import SourceError
from lukewarm.predictors.predictor import Runtime, load_predictor
from lukewarm.predictors.spec import ModelSpec

# limits where the spec sets none
_MIN_COSINE = {"fp32": 0.9999, "fp16": 0.999, "bf16": 0.99}
_MIN_COSINE_QUANTIZED = 0.95
_LONG_WORDS = 600  # the last text: scaled positions and local attention show only far out
_LONG_TOKENS = 128


class EmbeddingAccuracy:
    """`cosine_mean` and `cosine_min` over texts of 4 to 600 words; `cosine_long` of the longest alone."""

    def measure(self, job: Job, bundle: Bundle) -> dict[str, float]:
        import numpy as np

        predictor = load_predictor(bundle, Runtime(device="cpu"))
        assert isinstance(predictor, Embedder)
        try:
            rows = predictor.token_rows(passages(job.spec))
            found = normalize(np.concatenate([predictor.embed([row]) for row in rows]))
            head = predictor.head
        finally:
            predictor.close()
        job.progress(f"{job.spec.name}: running the source in fp32 for reference", None)
        auto_class = embeddings.auto_class(job.source)
        model = load_model(job.source, auto_class, **arguments(job.source, auto_class))
        states = [_states(model, row) for row in rows]
        wanted = normalize(np.concatenate([head(state, np.ones(state.shape[:2], np.int64)) for state in states]))
        if not np.isfinite(wanted).all():
            raise SourceError(f"{job.source.root} computes values that are not numbers: its weights are damaged")
        cosines = (found * wanted).sum(1)
        measured = {"cosine_mean": float(cosines.mean()), "cosine_min": float(cosines.min())}
        longest = max(range(len(rows)), key=lambda place: len(rows[place]))
        return measured | ({"cosine_long": float(cosines[longest])} if len(rows[longest]) > _LONG_TOKENS else {})

    def over_budget(self, spec: ModelSpec, measured: Mapping[str, float]) -> list[str]:
        least = spec.accuracy.min_cosine
        if least is None:
            least = _MIN_COSINE.get(spec.precision, _MIN_COSINE_QUANTIZED)
        if measured["cosine_min"] >= least:
            return []
        return [f"smallest cosine with the source {measured['cosine_min']:.5f}, at least {least:g} wanted"]


def passages(spec: ModelSpec) -> list[str]:
    """Texts of different lengths: lines of the user's file, or pieces of what comes with Python. Raises SpecError."""
    text = texts.read(spec.accuracy.texts)
    if spec.accuracy.texts is not None:
        return [line for line in text.splitlines() if line.strip()][:256]
    words = text.split()
    lengths = (4, 8, 16, 40, 100)
    found = [" ".join(words[at : at + lengths[place % 5]]) for place, at in enumerate(range(0, 8000, 200))]
    return [*found, " ".join(words[:_LONG_WORDS])]


def _states(model: Any, row: list[int]) -> Any:
    import torch

    ids, mask = pad([row], 0)
    with torch.inference_mode():
        return model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).last_hidden_state.numpy()


measure = EmbeddingAccuracy()
