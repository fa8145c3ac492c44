"""Whisper's decoder prompt over a `StepModel`: the language is heard from the first step, then the search goes on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from lukewarm.predictors.search import StepModel, search
from lukewarm.predictors.speech_to_text import Heard, SpeechSettings
from lukewarm.predictors.text_to_text import Hypothesis, SearchSettings

if TYPE_CHECKING:
    from lukewarm.predictors.speech_to_text import SpeechToText


def transcribe(
    predictor: SpeechToText, model: StepModel, count: int, settings: SearchSettings, cancel: threading.Event
) -> list[Hypothesis]:
    """The best hypothesis of each of `count` sounds."""
    assert isinstance(settings, SpeechSettings)
    rules = predictor.rules_for(settings)
    rows = np.arange(count, dtype=np.int64)
    columns = [np.full(count, token, np.int64) for token in rules.start_ids]
    language = None if settings.language is None else np.full(count, settings.language, np.int64)
    if predictor.languages and language is None:
        for column in columns:
            logits = model.step(column, rows)
        known = np.array(predictor.languages, np.int64)
        language = known[logits[:, known].argmax(-1)]
        columns = []
    if language is not None:
        columns.append(language)
    columns += [np.full(count, token, np.int64) for token in predictor.prompt(settings)]
    found = search(model, count, settings, rules, cancel, columns)
    if language is None:
        return found
    return [Heard(one.tokens, one.reason, int(token)) for one, token in zip(found, language, strict=True)]
