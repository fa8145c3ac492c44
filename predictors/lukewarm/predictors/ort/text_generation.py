"""Text generation with plain ONNX Runtime: no torch, no transformers, one run of the graph per token.

`model/model.onnx`, or its halves, and `model/model.onnx.data`: inputs input_ids int64[batch, length], seqlens_k
int32[batch] (length of each row after this run, less one), total_len int32[] (longest of them), last int64[scored]
(positions in the flattened batch whose logits are wanted), maybe position_ids; past_key_values.N.key/value and
present.N.key/value are one buffer each, written in place. Output logits float32[scored, vocab]. Manifest `options`:
layers [[heads, size], ...], prepack, parts [graph, ...]: run one after another, on their shares of these inputs and on
what the one before leaves.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lukewarm.predictors.decoder_generator import DecoderGenerator
from lukewarm.predictors.generation import Decoder
from lukewarm.predictors.ort.session import library
from lukewarm.predictors.predictor import NEVER
from lukewarm.predictors.startup import beside, huge_heap, read_ahead

if TYPE_CHECKING:
    from lukewarm.predictors.generation import FloatArray

GRAPH = "model.onnx"
WEIGHTS = "model/model.onnx.data"
# reading the tokenizer holds the interpreter's lock in one go: a session not past Python yet would wait for it
_HEAD_START_S = 0.02


class OrtTextGenerator(DecoderGenerator):
    """fp32, 8- and 4-bit weights; `Runtime.options` are session configuration entries."""

    def load(self) -> Callable[[], object]:
        weights = self.bundle.root / WEIGHTS
        read_ahead(weights)
        self._prepack = bool(self.bundle.manifest.options.get("prepack", True))
        # packed weights are copies of those in the file, with a sum for each block
        copied_bytes = weights.stat().st_size * 5 // 4 if self._prepack and weights.exists() else 0
        with contextlib.ExitStack() as stack:
            stack.enter_context(huge_heap(copied_bytes))
            library()
            opened = beside(self._open, stack.pop_all().close)
        if len(self._graphs()) > 1:
            time.sleep(_HEAD_START_S)
        return opened

    def decoder(self, cancel: threading.Event) -> Decoder:
        from lukewarm.predictors.ort.decoder import OrtDecoder

        return OrtDecoder(self._parts, self._layers, cancel)

    def score(self, token_ids: Sequence[int]) -> FloatArray:
        from lukewarm.predictors.ort.decoder import OrtDecoder

        return OrtDecoder(self._parts, self._layers, NEVER).score(token_ids)

    def close(self) -> None:
        self._parts: Any = None

    def _open(self) -> None:
        from lukewarm.predictors.ort.parts import Parts

        options = self.bundle.manifest.options
        self._layers = [(int(heads), int(size)) for heads, size in options["layers"]]
        self._parts = Parts.open(self._graphs(), self.runtime, prepack=self._prepack)

    def _graphs(self) -> list[Path]:
        return [self.bundle.path(f"model/{name}") for name in self.bundle.manifest.options.get("parts", [GRAPH])]
