"""Images and sounds to text with ONNX Runtime: encoder and decoder graphs (`steps.py`) under our own search."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from lukewarm.predictors.media_to_text import ImageToText, SpeechToText
from lukewarm.predictors.ort.steps import Graphs, OrtSteps
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
