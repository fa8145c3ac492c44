"""The CTranslate2 backend: its own C++ loop; starts and answers without torch, transformers and numpy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.predictor import Backend, Predictor, Runtime, check_supported
from lukewarm.predictors.registry import Registry, Row
from lukewarm.predictors.spec import Task

# int8: 8-bit weights and activations; int8w: 8-bit weights, computed in fp32
_PRECISIONS = ("fp32", "int8", "int8w", "fp16", "bf16")
_P = "lukewarm.predictors.ct2"
_PREDICTORS = Registry(
    "task",
    "lukewarm.tasks.ct2",
    (
        Row("text-generation", f"{_P}.text_generation", "Ct2TextGenerator", "ct2"),
        Row("text-to-text", f"{_P}.text_to_text", "Ct2TextToText", "ct2"),
        Row("embeddings", f"{_P}.embeddings", "Ct2Embedder", "ct2"),
        Row("speech-to-text", f"{_P}.speech_to_text", "Ct2SpeechToText", "ct2"),
    ),
)


class Ct2Backend(Backend):
    name = "ct2"
    survives_fork = False  # its thread pool stays behind, and a request then waits for ever
    support: ClassVar[Mapping[Task, tuple[str, ...]]] = {
        "text-generation": _PRECISIONS,
        "text-to-text": _PRECISIONS,
        "embeddings": _PRECISIONS,
        "speech-to-text": _PRECISIONS,
    }

    def create(self, bundle: Bundle, runtime: Runtime) -> Predictor:
        check_supported(self.name, bundle.manifest.task, bundle.manifest.precision)
        predictor: Predictor = _PREDICTORS.load(bundle.manifest.task)(bundle, runtime)
        return predictor


backend = Ct2Backend()
