"""Text to text with transformers' own `generate`. The bundle's `model/` is a Hugging Face directory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from lukewarm.predictors.hf.loading import load_model, prepare_torch, torch_dtype
from lukewarm.predictors.predictor import NEVER
from lukewarm.predictors.text_to_text import Hypothesis, Rules, SearchSettings, TextToTextPredictor


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
        return generate(self._model, sources, settings, self.rules, self.bundle.manifest.pad_token_id or 0, cancel)

    def close(self) -> None:
        self._model = None


def generate(
    model: Any,
    sources: Sequence[Sequence[int]],
    settings: SearchSettings,
    rules: Rules,
    pad_id: int,
    cancel: threading.Event = NEVER,
) -> list[Hypothesis]:
    """The best hypothesis for each row of source ids, in one batch."""
    import torch

    from lukewarm.predictors.embeddings import pad

    ids, mask = pad(sources, pad_id)
    with torch.inference_mode():
        out = model.generate(
            input_ids=torch.from_numpy(ids).to(model.device),
            attention_mask=torch.from_numpy(mask).to(model.device),
            **({} if settings.language_id is None else {"forced_bos_token_id": settings.language_id}),
            **search_options(settings, cancel),
        )
    rows = out[:, len(rules.start_ids) :].tolist()
    return [_hypothesis(row, rules, pad_id, cancel) for row in rows]


def search_options(settings: SearchSettings, cancel: threading.Event) -> dict[str, Any]:
    """The keywords of transformers' `generate` for a search that ends early when `cancel` is set."""
    import torch

    return {
        "max_new_tokens": settings.max_new_tokens,
        "max_length": None,
        "num_beams": settings.num_beams,
        "length_penalty": settings.length_penalty,
        "do_sample": False,
        "stopping_criteria": [lambda tokens, *_, **__: torch.full(tokens.shape[:1], cancel.is_set())],
    }


def _hypothesis(row: list[int], rules: Rules, pad_id: int, cancel: threading.Event) -> Hypothesis:
    end = next((place for place, token in enumerate(row) if token in rules.eos_ids), None)
    if end is not None:
        return Hypothesis(row[:end], "eos")
    while row and row[-1] == pad_id:
        row.pop()
    return Hypothesis(row, "cancelled" if cancel.is_set() else "length")
