"""The Hugging Face backend: transformers and torch, the reference that every other backend is held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.predictor import Backend, Predictor, Runtime, check_supported
from lukewarm.predictors.spec import Task

_PRECISIONS = ("fp32", "bf16", "fp16")


class HfBackend(Backend):
    name = "hf"
    support: ClassVar[Mapping[Task, tuple[str, ...]]] = {
        "text-generation": _PRECISIONS,
        "text-to-text": _PRECISIONS,
        "embeddings": _PRECISIONS,
        "text-classification": _PRECISIONS,
    }

    def create(self, bundle: Bundle, runtime: Runtime) -> Predictor:
        check_supported(self.name, bundle.manifest.task, bundle.manifest.precision)
        if bundle.manifest.task == "text-to-text":
            from lukewarm.predictors.hf.text_to_text import HfTextToText

            return HfTextToText(bundle, runtime)
        if bundle.manifest.task in ("embeddings", "text-classification"):
            from lukewarm.predictors.hf.encoders import HfEmbedder, HfTextClassifier

            return (HfEmbedder if bundle.manifest.task == "embeddings" else HfTextClassifier)(bundle, runtime)
        from lukewarm.predictors.hf.text_generation import HfTextGenerator

        return HfTextGenerator(bundle, runtime)


backend = HfBackend()
