"""A transformers causal language model as a `Decoder`: its own key/value cache, batches padded on the left."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lukewarm.predictors.decoding import ArrayScores
from lukewarm.predictors.errors import CancelledError, UnsupportedError

if TYPE_CHECKING:
    import torch

    from lukewarm.predictors.generation import FloatArray

CHUNK_TOKENS = 1024  # a long prompt is read in chunks, so that a cancelled request ends soon
_CACHES = ("past_key_values", "cache_params")  # the names that models give their state, in and out


class TorchDecoder:
    """One run. Left padding puts every row's last token into the same column; positions count from each row's first."""

    def __init__(self, model: Any, cancel: threading.Event, chunk_tokens: int = CHUNK_TOKENS) -> None:
        import torch

        self._torch = torch
        self._model = model
        self._cancel = cancel
        accepted = inspect.signature(model.forward).parameters
        self._chunk_tokens = chunk_tokens
        self._cache_name = next((name for name in _CACHES if name in accepted), "")
        if not self._cache_name:
            raise UnsupportedError(f"{type(model).__name__} keeps no key/value cache; the hf backend needs one")
        self._takes_positions = "position_ids" in accepted
        self._last_only: dict[str, int] = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        self._cache: Any = None
        self._ragged = False

    def prefill(self, prompts: Sequence[Sequence[int]], capacity: int) -> ArrayScores:
        torch = self._torch
        lengths = np.array([len(prompt) for prompt in prompts], np.int64)
        batch, longest = len(prompts), int(lengths.max())
        pads = longest - lengths
        self._ragged = bool(pads.any())
        columns = np.arange(longest)
        real = columns >= pads[:, None]
        left = np.zeros((batch, longest), np.int64)
        left[real] = [token for prompt in prompts for token in prompt]
        self._mask = torch.zeros((batch, capacity + int(pads.max())), dtype=torch.long, device=self._model.device)
        self._mask[:, :longest] = torch.from_numpy(real.astype(np.int64))
        self._width = 0
        self._positions = torch.tensor(lengths, device=self._model.device)  # a copy: it is counted up in place
        tokens = torch.from_numpy(left)
        positions = torch.from_numpy(np.maximum(columns - pads[:, None], 0))
        logits: FloatArray | None = None
        for start in range(0, longest, self._chunk_tokens):
            if self._cancel.is_set():
                raise CancelledError
            chunk = slice(start, start + self._chunk_tokens)
            logits = self._forward(tokens[:, chunk], positions[:, chunk])
        assert logits is not None
        return ArrayScores(logits)

    def step(self, tokens: Sequence[int]) -> ArrayScores:
        self._mask[:, self._width] = 1
        logits = self._forward(self._torch.tensor(tokens)[:, None], self._positions[:, None])
        self._positions += 1
        return ArrayScores(logits)

    def keep(self, rows: Sequence[int]) -> None:
        index = self._torch.tensor(rows, device=self._model.device)
        self._cache.batch_select_indices(index)
        self._mask = self._mask[index]
        self._positions = self._positions[index]

    def _forward(self, tokens: torch.Tensor, positions: torch.Tensor) -> FloatArray:
        torch = self._torch
        device = self._model.device
        self._width += tokens.shape[1]
        inputs: dict[str, Any] = {**self._last_only, self._cache_name: self._cache}
        if self._takes_positions:
            inputs["position_ids"] = positions.to(device)
        if self._cache_name != "past_key_values":
            # a state has taken the padding in already: the mask is of these tokens, and there is none in a step
            if self._ragged and tokens.shape[1] > 1:
                inputs["attention_mask"] = self._mask[:, self._width - tokens.shape[1] : self._width]
        elif self._ragged or not self._takes_positions:
            inputs["attention_mask"] = self._mask[:, : self._width]
        with torch.inference_mode():
            output = self._model(input_ids=tokens.to(device), use_cache=True, return_dict=True, **inputs)
            self._cache = getattr(output, self._cache_name, None)
            if self._cache is None:
                raise UnsupportedError(
                    f"{type(self._model).__name__} keeps no key/value cache; the hf backend needs one"
                )
            logits: FloatArray = output.logits[:, -1].float().cpu().numpy()
        return logits


def score(model: Any, token_ids: Sequence[int]) -> FloatArray:
    """Logits [len(token_ids), vocab] in fp32."""
    import torch

    with torch.inference_mode():
        tokens = torch.tensor([list(token_ids)], dtype=torch.long, device=model.device)
        logits: FloatArray = model(input_ids=tokens, use_cache=False, return_dict=True).logits[0].float().cpu().numpy()
    return logits
