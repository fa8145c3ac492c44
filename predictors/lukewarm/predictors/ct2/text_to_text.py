"""Text to text with CTranslate2's Translator; no numpy, no torch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from lukewarm.predictors.ct2.loading import close_at_exit, load_model
from lukewarm.predictors.text_to_text import Hypothesis, SearchSettings, TextToTextPredictor

_POLL_S = 0.02


class Ct2TextToText(TextToTextPredictor):
    """The bundle's `model/` is a CTranslate2 directory; `options.compute_type` says how it computes."""

    def load(self) -> None:
        manifest = self.bundle.manifest
        close_at_exit(self)
        self._model: Any = load_model("Translator", self.bundle.root / "model", manifest.precision, self.runtime)
        # CTranslate2 drops Marian's row for padding; a rule against it would hit the unknown token
        self._removed = manifest.pad_token_id if manifest.architecture.startswith("Marian") else None

    def run(
        self, sources: Sequence[Sequence[int]], settings: SearchSettings, cancel: threading.Event
    ) -> list[Hypothesis]:
        arguments = self._arguments(sources, settings)
        if settings.num_beams == 1:
            results = self._model.translate_batch(**arguments, callback=_stop_at(cancel))
        else:
            jobs = self._model.translate_batch(**arguments, asynchronous=True)
            for job in jobs:
                while not job.done():  # a beam search has no hook: after a cancel it runs on, and nobody waits
                    if cancel.wait(_POLL_S) if len(jobs) > 1 else cancel.is_set():
                        return [Hypothesis([], "cancelled") for _ in sources]
            results = [job.result() for job in jobs]
        return [self._hypothesis(result.hypotheses[0], settings, cancel) for result in results]

    def close(self) -> None:
        self._model = None

    def _arguments(self, sources: Sequence[Sequence[int]], settings: SearchSettings) -> dict[str, Any]:
        rules, codec = self.rules.for_request(settings), self.codec
        arguments: dict[str, Any] = {
            "source": [codec.pieces(ids) for ids in sources],
            "beam_size": settings.num_beams,
            "length_penalty": settings.length_penalty,
            "max_decoding_length": settings.max_new_tokens,
            "min_decoding_length": min(rules.min_new_tokens, settings.max_new_tokens),
            "no_repeat_ngram_size": rules.no_repeat_ngram_size,
            "repetition_penalty": rules.repetition_penalty,
            "max_input_length": 0,  # ours is checked; the default cuts silently
            "end_token": [codec.target_piece(token) for token in rules.eos_ids],
        }
        if suppressed := [token for token in rules.suppress_ids if token != self._removed]:
            arguments["suppress_sequences"] = [[codec.target_piece(token)] for token in suppressed]
        if rules.forced_bos_id is not None:
            arguments["target_prefix"] = [[codec.target_piece(rules.forced_bos_id)]] * len(sources)
        return arguments

    def _hypothesis(self, pieces: list[str], settings: SearchSettings, cancel: threading.Event) -> Hypothesis:
        tokens = self.codec.numbers(pieces)
        if cancel.is_set():
            return Hypothesis(tokens, "cancelled")
        if len(tokens) < settings.max_new_tokens:
            return Hypothesis(tokens, "eos")
        # CTranslate2 forces no end token into the last place; it cuts instead
        return Hypothesis(tokens[:-1] if self.rules.forced_eos_ids else tokens, "length")


def _stop_at(cancel: threading.Event) -> Callable[[Any], bool]:
    return lambda _step: cancel.is_set()
