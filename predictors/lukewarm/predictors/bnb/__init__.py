"""The bitsandbytes backend: transformers on weights that are stored quantized (LLM.int8 or nf4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.predictor import Backend, Predictor, Runtime, check_supported
from lukewarm.predictors.spec import Task


class BnbBackend(Backend):
    name = "bnb"
    survives_fork = True
    support: ClassVar[Mapping[Task, tuple[str, ...]]] = {"text-generation": ("int8", "nf4")}

    def create(self, bundle: Bundle, runtime: Runtime) -> Predictor:
        check_supported(self.name, bundle.manifest.task, bundle.manifest.precision)
        from lukewarm.predictors.bnb.text_generation import BnbTextGenerator

        return BnbTextGenerator(bundle, runtime)


backend = BnbBackend()
