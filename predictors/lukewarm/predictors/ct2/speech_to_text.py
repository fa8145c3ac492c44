"""Speech to text with CTranslate2's Whisper."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from lukewarm.predictors.ct2.loading import load_model
from lukewarm.predictors.errors import RequestError
from lukewarm.predictors.speech_to_text import Heard, SpeechSettings, SpeechToText
from lukewarm.predictors.text_to_text import Hypothesis, SearchSettings

if TYPE_CHECKING:
    from lukewarm.predictors.media_to_text import FloatArray


class Ct2SpeechToText(SpeechToText):
    """The bundle's `model/` is a CTranslate2 Whisper directory. A run in progress is not cancelled."""

    def load(self) -> None:
        precision = self.bundle.manifest.precision
        self._model: Any = load_model("models.Whisper", self.bundle.root / "model", precision, self.runtime)

    def run(self, features: FloatArray, settings: SearchSettings, cancel: threading.Event) -> list[Hypothesis]:
        import ctranslate2

        if cancel.is_set():
            return [Hypothesis([], "cancelled") for _ in features]
        assert isinstance(settings, SpeechSettings)
        view = self._model.encode(ctranslate2.StorageView.from_array(features))
        languages = self._languages(view, len(features), settings.language)
        told = self.prompt(settings)
        prompts = [[*self.rules.start_ids, *([] if one is None else [one]), *told] for one in languages]
        results = self._model.generate(
            view,
            prompts,
            beam_size=settings.num_beams,
            length_penalty=settings.length_penalty,
            # of its maximum it leaves half to new tokens, or what the prompt leaves if that is less
            max_length=settings.max_new_tokens + max(settings.max_new_tokens, len(prompts[0])),
            repetition_penalty=self.rules.repetition_penalty,
            no_repeat_ngram_size=self.rules.no_repeat_ngram_size,
            suppress_blank=False,  # the model's own rule says it
            suppress_tokens=list(self.rules.suppress_ids),
            max_initial_timestamp_index=self.latest_start,
        )
        return [
            self._hypothesis(result.sequences_ids[0], settings, language)
            for result, language in zip(results, languages, strict=True)
        ]

    def close(self) -> None:
        self._model.unload_model()

    def _languages(self, view: Any, count: int, language: int | None) -> list[int | None]:
        if language is not None or not self.languages:
            return [language] * count
        try:
            heard = self._model.detect_language(view)
        except RuntimeError as error:  # it knows languages by the size of OpenAI's vocabulary alone
            raise RequestError(
                "language_needed", "CTranslate2 cannot hear this model's language; say it (or set it in the model's "
                "generation_config.json), or use backend ort", "$.language", allowed="a language's code",
            ) from error  # fmt: skip
        return [self.tokenizer.token_id(best[0][0]) or self.languages[0] for best in heard]

    def _hypothesis(self, tokens: list[int], settings: SearchSettings, language: int | None) -> Hypothesis:
        if tokens and tokens[-1] in self.rules.eos_ids:
            tokens = tokens[:-1]
        return Heard(tokens, "length" if len(tokens) >= settings.max_new_tokens else "eos", language)
