"""The ONNX Runtime backend: graphs finished at conversion; starts and answers without torch and transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.predictor import Backend, Predictor, Runtime, check_supported
from lukewarm.predictors.spec import Task

# dynamic-int8: 8-bit activations too, by kernels that cannot overflow on any CPU
_ENCODER = ("fp32", "int8", "dynamic-int8")


class OrtBackend(Backend):
    name = "ort"
    # int8 and int4 are weight-only: block-wise weights, and no loss in the activations that a user would notice
    support: ClassVar[Mapping[Task, tuple[str, ...]]] = {
        "text-generation": ("fp32", "int8", "int4"),
        "text-to-text": ("fp32", "int8"),
        "embeddings": _ENCODER,
        "text-classification": _ENCODER,
    }

    def create(self, bundle: Bundle, runtime: Runtime) -> Predictor:
        check_supported(self.name, bundle.manifest.task, bundle.manifest.precision)
        if bundle.manifest.task == "text-generation":
            from lukewarm.predictors.ort.text_generation import OrtTextGenerator

            return OrtTextGenerator(bundle, runtime)
        if bundle.manifest.task == "text-to-text":
            from lukewarm.predictors.ort.text_to_text import OrtTextToText

            return OrtTextToText(bundle, runtime)
        from lukewarm.predictors.ort.encoders import OrtEmbedder, OrtTextClassifier

        return (OrtEmbedder if bundle.manifest.task == "embeddings" else OrtTextClassifier)(bundle, runtime)


backend = OrtBackend()
