"""Text generation with transformers. The bundle's `model/` is a Hugging Face directory: config.json and safetensors."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lukewarm.predictors.decoder_generator import DecoderGenerator
from lukewarm.predictors.generation import Decoder, Row
from lukewarm.predictors.hf.loading import load_model, prepare_torch, torch_dtype

if TYPE_CHECKING:
    from lukewarm.predictors.generation import FloatArray


class HfTextGenerator(DecoderGenerator):
    """fp32, bf16 or fp16 weights on a CPU or a CUDA device; `Runtime.options` go to `from_pretrained`."""

    def load(self) -> None:
        device = prepare_torch(self.runtime)
        dtype = torch_dtype(self.bundle.manifest.precision)
        folder = self.bundle.root / "model"
        self._model: Any = load_model("AutoModelForCausalLM", folder, device, dtype=dtype, **dict(self.runtime.options))

    def decoder(self, cancel: threading.Event) -> Decoder:
        from lukewarm.predictors.hf.decoder import CHUNK_TOKENS, TorchDecoder

        # what the conversion found out of this model (convert/hf_trial.py)
        whole = self.bundle.manifest.options.get("chunks") is False
        return TorchDecoder(self._model, cancel, sys.maxsize if whole else CHUNK_TOKENS)

    def run(self, rows: Sequence[Row], cancel: threading.Event) -> Iterator[tuple[Row, str]]:
        if self.bundle.manifest.options.get("batches") is False:
            return itertools.chain.from_iterable(super(HfTextGenerator, self).run([row], cancel) for row in rows)
        return super().run(rows, cancel)

    def score(self, token_ids: Sequence[int]) -> FloatArray:
        from lukewarm.predictors.hf.decoder import score

        return score(self._model, token_ids)

    def close(self) -> None:
        self._model = None
