"""Text to text with ONNX Runtime: encoder and decoder graphs (`steps.py`) under our own search."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from lukewarm.predictors.embeddings import pad
from lukewarm.predictors.ort.steps import Graphs, OrtSteps
from lukewarm.predictors.search import search
from lukewarm.predictors.text_to_text import Hypothesis, SearchSettings, TextToTextPredictor


class OrtTextToText(TextToTextPredictor):
    """`model/encoder.onnx` and `model/decoder.onnx`, which share `model/weights.bin`."""

    def load(self) -> None:
        self._graphs = Graphs.open(self.bundle, self.runtime)

    def run(
        self, sources: Sequence[Sequence[int]], settings: SearchSettings, cancel: threading.Event
    ) -> list[Hypothesis]:
        ids, mask = pad(sources, self.bundle.manifest.pad_token_id or 0)
        steps = OrtSteps(self._graphs, {"input_ids": ids, "attention_mask": mask})
        return search(steps, len(sources), settings, self.rules.for_request(settings), cancel)

    def close(self) -> None:
        del self._graphs
