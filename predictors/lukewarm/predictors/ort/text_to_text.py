"""Text to text with ONNX Runtime: encoder and decoder graphs (`steps.py`) under our own search."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from lukewarm.predictors.ort.steps import Graphs, OrtSteps
from lukewarm.predictors.search import search
from lukewarm.predictors.text_to_text import Hypothesis, SearchSettings, TextToTextPredictor


class OrtTextToText(TextToTextPredictor):
    """`model/encoder.onnx` and `model/decoder.onnx`, which share `model/weights.bin`."""

    def load(self) -> None:
        from lukewarm.predictors.ort.open import open_session

        self._graphs = Graphs(
            *(open_session(self.bundle, f"model/{name}.onnx", self.runtime) for name in ("encoder", "decoder"))
        )

    def run(
        self, sources: Sequence[Sequence[int]], settings: SearchSettings, cancel: threading.Event
    ) -> list[Hypothesis]:
        ids, mask = pad(sources, self.bundle.manifest.pad_token_id or 0)
        steps = OrtSteps(self._graphs, {"input_ids": ids, "attention_mask": mask})
        return search(steps, len(sources), settings, self.rules, cancel)

    def close(self) -> None:
        del self._graphs


def pad(
    rows: Sequence[Sequence[int]], fill: int
) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.int64]], np.ndarray[tuple[int, int], np.dtype[np.int64]]]:
    """Token rows -> ids and mask, int64 [rows, longest], padded on the right."""
    longest = max(map(len, rows))
    ids = np.full((len(rows), longest), fill, np.int64)
    mask = np.zeros((len(rows), longest), np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return ids, mask
