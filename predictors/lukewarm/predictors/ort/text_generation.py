"""Text generation with plain ONNX Runtime: no torch, no transformers, one run of the graph per token.

`model/model.onnx`, or its halves, and `model/model.onnx.data`: inputs input_ids int64[batch, length], seqlens_k
int32[batch] (length of each row after this run, less one), total_len int32[] (longest of them), last int64[scored]
(positions in the flattened batch whose logits are wanted), maybe position_ids; past_key_values.N.key/value and
present.N.key/value are one buffer each, written in place. Output logits float32[scored, vocab]. Manifest `options`:
layers [[heads, size], ...], prepack, parts [graph, ...]: run one after another, on their shares of these inputs and on
what the one before leaves.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lukewarm.predictors.decoder_generator import DecoderGenerator
from lukewarm.predictors.generation import Decoder, settle
from lukewarm.predictors.ort.session import begun, library, open_bundle
from lukewarm.predictors.predictor import NEVER
from lukewarm.predictors.startup import beside
from lukewarm.predictors.tasks import TextGenerationRequest

if TYPE_CHECKING:
    from lukewarm.predictors.generation import FloatArray
    from lukewarm.predictors.ort.parts import Parts

# imports and the tokenizer hold the interpreter's lock for long: a session not past Python yet would wait for it
_HEAD_START_S = 0.002


class OrtTextGenerator(DecoderGenerator):
    """fp32, 8- and 4-bit weights; `Runtime.options` are session configuration entries."""

    _sessions: list[Any]

    def load(self) -> Callable[[], object]:
        opened = begun(self.bundle, self.runtime)
        if opened is None:
            library()  # imports are for this thread
            opened = beside(functools.partial(open_bundle, self.bundle, self.runtime))
        time.sleep(_HEAD_START_S)
        try:
            self._import()
        except BaseException:
            opened()  # a thread must not outlive a failed setup
            raise
        return functools.partial(self._take, opened)

    def _import(self) -> None:
        """What the first request needs: numpy only where the model's settings draw tokens; children share it."""
        from lukewarm.predictors import decoding
        from lukewarm.predictors.ort import decoder  # noqa: F401

        if self.runtime.forks or not settle(TextGenerationRequest(), self.bundle.manifest).takes_best:
            decoding.import_sampler()

    def _take(self, opened: Callable[[], list[Any]]) -> None:
        self._layers = [(int(heads), int(size)) for heads, size in self.bundle.manifest.options["layers"]]
        self._sessions = opened()

    def decoder(self, cancel: threading.Event) -> Decoder:
        from lukewarm.predictors.ort.decoder import OrtDecoder

        return OrtDecoder(self._parts, self._layers, cancel)

    def score(self, token_ids: Sequence[int]) -> FloatArray:
        from lukewarm.predictors.ort.decoder import OrtDecoder

        return OrtDecoder(self._parts, self._layers, NEVER).score(token_ids)

    @functools.cached_property
    def _parts(self) -> Parts:
        """Made at the first run."""
        from lukewarm.predictors.ort.parts import Parts

        return Parts(self._sessions)

    def close(self) -> None:
        self._sessions = []
        self.__dict__.pop("_parts", None)
