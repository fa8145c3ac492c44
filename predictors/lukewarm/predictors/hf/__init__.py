"""The Hugging Face backend: transformers and torch, the reference that every other backend is held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.predictor import Backend, Predictor, Runtime, check_supported, kind
from lukewarm.predictors.registry import Registry, Row
from lukewarm.predictors.spec import Task

_PRECISIONS = ("fp32", "bf16", "fp16")
_P = "lukewarm.predictors.hf"
_PREDICTORS = Registry(
    "task",
    "lukewarm.tasks.hf",
    (
        Row("text-generation", f"{_P}.text_generation", "HfTextGenerator", "hf"),
        Row("text-to-text", f"{_P}.text_to_text", "HfTextToText", "hf"),
        Row("embeddings", f"{_P}.encoders", "HfEmbedder", "hf"),
        Row("text-classification", f"{_P}.encoders", "HfTextClassifier", "hf"),
        Row("image-to-text", f"{_P}.media", "HfImageToText", "hf"),
        Row("speech-to-text", f"{_P}.media", "HfSpeechToText", "hf"),
        Row("speech-to-text/ctc", f"{_P}.media", "HfCtcToText", "hf"),
        Row("image-to-text/generate", f"{_P}.processed", "HfProcessedImage", "hf"),
        Row("speech-to-text/generate", f"{_P}.processed", "HfProcessedSound", "hf"),
    ),
)


class HfBackend(Backend):
    name = "hf"
    survives_fork = True
    support: ClassVar[Mapping[Task, tuple[str, ...]]] = {
        "text-generation": _PRECISIONS,
        "text-to-text": _PRECISIONS,
        "embeddings": _PRECISIONS,
        "text-classification": _PRECISIONS,
        "image-to-text": _PRECISIONS,
        "speech-to-text": _PRECISIONS,
    }

    def create(self, bundle: Bundle, runtime: Runtime) -> Predictor:
        check_supported(self.name, bundle.manifest.task, bundle.manifest.precision)
        predictor: Predictor = _PREDICTORS.load(kind(bundle.manifest))(bundle, runtime)
        return predictor


backend = HfBackend()
