"""The CTranslate2 backend: its own C++ loop; starts and answers without torch, transformers and numpy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.predictor import Backend, Predictor, Runtime, check_supported
from lukewarm.predictors.spec import Task

# int8: 8-bit weights and activations; int8w: 8-bit weights, computed in fp32
_PRECISIONS = ("fp32", "int8", "int8w", "fp16", "bf16")


class Ct2Backend(Backend):
    name = "ct2"
    support: ClassVar[Mapping[Task, tuple[str, ...]]] = {
        "text-generation": _PRECISIONS,
        "text-to-text": _PRECISIONS,
        "embeddings": _PRECISIONS,
    }

    def create(self, bundle: Bundle, runtime: Runtime) -> Predictor:
        check_supported(self.name, bundle.manifest.task, bundle.manifest.precision)
        if bundle.manifest.task == "text-to-text":
            from lukewarm.predictors.ct2.text_to_text import Ct2TextToText

            return Ct2TextToText(bundle, runtime)
        if bundle.manifest.task == "embeddings":
            from lukewarm.predictors.ct2.embeddings import Ct2Embedder

            return Ct2Embedder(bundle, runtime)
        from lukewarm.predictors.ct2.text_generation import Ct2TextGenerator

        return Ct2TextGenerator(bundle, runtime)


backend = Ct2Backend()
