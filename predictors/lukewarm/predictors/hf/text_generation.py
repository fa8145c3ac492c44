"""Text generation with transformers. The bundle's `model/` is a Hugging Face directory: config.json and safetensors."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lukewarm.predictors.generation import Decoder, DecoderGenerator
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
        from lukewarm.predictors.hf.decoder import TorchDecoder

        return TorchDecoder(self._model, cancel)

    def score(self, token_ids: Sequence[int]) -> FloatArray:
        from lukewarm.predictors.hf.decoder import score

        return score(self._model, token_ids)

    def close(self) -> None:
        self._model = None
