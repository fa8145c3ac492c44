"""Text to text with transformers' own `generate`. The bundle's `model/` is a Hugging Face directory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from lukewarm.predictors.hf.loading import load_model, prepare_torch, torch_dtype
from lukewarm.predictors.text_to_text import Hypothesis, SearchSettings, TextToTextPredictor


class HfTextToText(TextToTextPredictor):
    """fp32, bf16 or fp16 weights on a CPU or a CUDA device; `Runtime.options` go to `from_pretrained`."""

    def load(self) -> None:
        device = prepare_torch(self.runtime)
        dtype = torch_dtype(self.bundle.manifest.precision)
        folder = self.bundle.root / "model"
        self._model: Any = load_model(
            "AutoModelForSeq2SeqLM", folder, device, dtype=dtype, **dict(self.runtime.options)
        )

    def run(
        self, sources: Sequence[Sequence[int]], settings: SearchSettings, cancel: threading.Event
    ) -> list[Hypothesis]:
        import torch

        ids, mask = pad(sources, self.bundle.manifest.pad_token_id or 0)
        with torch.inference_mode():
            out = self._model.generate(
                input_ids=ids.to(self._model.device), attention_mask=mask.to(self._model.device),
                max_new_tokens=settings.max_new_tokens, max_length=None, num_beams=settings.num_beams,
                length_penalty=settings.length_penalty, do_sample=False,
                stopping_criteria=[lambda tokens, *_, **__: torch.full(tokens.shape[:1], cancel.is_set())],
            )  # fmt: skip
        return [self._hypothesis(row, settings, cancel) for row in out[:, len(self.rules.start_ids) :].tolist()]

    def close(self) -> None:
        self._model = None

    def _hypothesis(self, row: list[int], settings: SearchSettings, cancel: threading.Event) -> Hypothesis:
        end = next((place for place, token in enumerate(row) if token in self.rules.eos_ids), None)
        if end is not None:
            return Hypothesis(row[:end], "eos")
        pad_id = self.bundle.manifest.pad_token_id
        while row and row[-1] == pad_id:
            row.pop()
        return Hypothesis(row, "cancelled" if cancel.is_set() else "length")


def pad(rows: Sequence[Sequence[int]], fill: int) -> tuple[Any, Any]:
    """Token rows -> ids and mask, int64 [rows, longest], padded on the right."""
    import torch

    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), fill)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(list(row))
        mask[index, : len(row)] = 1
    return ids, mask
