"""An encoder-decoder of transformers as a `StepModel`: our search over torch, where `generate` is special."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lukewarm.predictors.search import FloatArray, IntArray


class TorchSteps:
    """One run: the encoder's output is given, the decoder's cache grows step by step. Logits are float32 in numpy."""

    def __init__(self, model: Any, encoder_outputs: Any, attention_mask: Any | None) -> None:
        """`encoder_outputs` holds [sentences, length, width], `attention_mask` is int64 [sentences, length]."""
        from transformers.cache_utils import DynamicCache, EncoderDecoderCache

        self._model = model
        self._encoder_outputs = encoder_outputs
        self._mask = attention_mask
        self._cache: Any = EncoderDecoderCache(DynamicCache(), DynamicCache())
        self._beams = 1

    def step(self, tokens: IntArray, origin: IntArray) -> FloatArray:
        import torch

        rows = torch.from_numpy(origin).to(self._model.device)
        if self._cache.get_seq_length():
            self._cache.reorder_cache(rows)
        with torch.inference_mode():
            out = self._model(
                encoder_outputs=self._encoder_outputs,
                **({} if self._mask is None else {"attention_mask": self._mask}),
                decoder_input_ids=torch.from_numpy(tokens)[:, None].to(self._model.device),
                past_key_values=self._cache,
                use_cache=True,
            )
        self._cache = out.past_key_values
        logits: FloatArray = out.logits[:, -1].float().cpu().numpy()
        return logits

    def sentences(self, kept: IntArray, beams: int) -> None:
        import torch

        rows = torch.from_numpy(kept).to(self._model.device)
        if self._beams > 1:
            rows = rows * self._beams
        rows = rows.repeat_interleave(beams)
        self._encoder_outputs = type(self._encoder_outputs)(
            last_hidden_state=self._encoder_outputs.last_hidden_state.index_select(0, rows)
        )
        if self._mask is not None:
            self._mask = self._mask.index_select(0, rows)
        self._beams = beams
