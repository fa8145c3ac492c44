"""What the ort backend carries, and the predictor of each task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.predictor import Backend, Predictor, Runtime, check_supported, kind
from lukewarm.predictors.registry import Registry, Row
from lukewarm.predictors.spec import Task

_ENCODER = ("fp32", "int8", "dynamic-int8")
_P = "lukewarm.predictors.ort"
_PREDICTORS = Registry(
    "task",
    "lukewarm.tasks.ort",
    (
        Row("text-generation", f"{_P}.text_generation", "OrtTextGenerator", "ort"),
        Row("text-to-text", f"{_P}.text_to_text", "OrtTextToText", "ort"),
        Row("embeddings", f"{_P}.encoders", "OrtEmbedder", "ort"),
        Row("text-classification", f"{_P}.encoders", "OrtTextClassifier", "ort"),
        Row("image-to-text", f"{_P}.media", "OrtImageToText", "ort"),
        Row("speech-to-text", f"{_P}.media", "OrtSpeechToText", "ort"),
        Row("speech-to-text/ctc", f"{_P}.media", "OrtCtcToText", "ort"),
    ),
)


class OrtBackend(Backend):
    name = "ort"
    survives_fork = True
    # int8 and int4 are weight-only: block-wise weights, and no loss in the activations that a user would notice;
    # dynamic-int8 has one scale for each token's activations and each row of weights: faster in batches, and coarser
    support: ClassVar[Mapping[Task, tuple[str, ...]]] = {
        "text-generation": ("fp32", "int8", "int4", "dynamic-int8"),
        "text-to-text": ("fp32", "int8"),
        "embeddings": _ENCODER,
        "text-classification": _ENCODER,
        "image-to-text": ("fp32", "int8"),
        "speech-to-text": ("fp32", "int8"),
    }

    def answers_forked(self, runtime: Runtime) -> bool:
        """On several threads too, where they can be begun in the child (`c_session.LateThreads`)."""
        from lukewarm.predictors.ort.opening import engine_for

        return super().answers_forked(runtime) or (runtime.forks and engine_for(runtime.device) is not None)

    def create(self, bundle: Bundle, runtime: Runtime) -> Predictor:
        check_supported(self.name, bundle.manifest.task, bundle.manifest.precision)
        predictor: Predictor = _PREDICTORS.load(kind(bundle.manifest))(bundle, runtime)
        return predictor


backend = OrtBackend()
