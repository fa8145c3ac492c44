"""Images and sounds to text with ONNX Runtime: encoder and decoder graphs (`steps.py`) under our own search."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from lukewarm.predictors.ctc import CtcToText
from lukewarm.predictors.media_to_text import ImageToText
from lukewarm.predictors.ort.session import open_bundle
from lukewarm.predictors.ort.steps import Graphs, OrtSteps
from lukewarm.predictors.speech_to_text import SpeechToText
from lukewarm.predictors.text_to_text import Hypothesis, SearchSettings

if TYPE_CHECKING:
    from lukewarm.predictors.media_to_text import FloatArray


class OrtImageToText(ImageToText):
    """The encoder's input is `pixel_values`."""

    def load(self) -> None:
        self._graphs = Graphs.open(self.bundle, self.runtime)

    def run(self, features: FloatArray, settings: SearchSettings, cancel: threading.Event) -> list[Hypothesis]:
        from lukewarm.predictors.search import search

        steps = OrtSteps(self._graphs, {"pixel_values": features})
        return search(steps, len(features), settings, self.rules, cancel)

    def close(self) -> None:
        del self._graphs


class OrtSpeechToText(SpeechToText):
    """The encoder's input is `input_features`."""

    def load(self) -> None:
        self._graphs = Graphs.open(self.bundle, self.runtime)

    def run(self, features: FloatArray, settings: SearchSettings, cancel: threading.Event) -> list[Hypothesis]:
        from lukewarm.predictors.listening import transcribe

        steps = OrtSteps(self._graphs, {"input_features": features})
        return transcribe(self, steps, len(features), settings, cancel)

    def close(self) -> None:
        del self._graphs


class OrtCtcToText(CtcToText):
    """One graph, `model/encoder.onnx`: `input_values` float32 [batch, samples] to `logits`."""

    def load(self) -> None:
        (self._graph,) = open_bundle(self.bundle, self.runtime)

    def logits(self, samples: FloatArray) -> FloatArray:
        found: FloatArray = self._graph.run(["logits"], {"input_values": samples[None]})[0][0]
        return found

    def close(self) -> None:
        del self._graph
