"""Whisper's decoder prompt over a `StepModel`: the language is heard from the first step, then the search goes on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from lukewarm.predictors.search import StepModel, search
from lukewarm.predictors.text_to_text import Hypothesis, SearchSettings

if TYPE_CHECKING:
    from lukewarm.predictors.media_to_text import SpeechToText


def transcribe(
    predictor: SpeechToText, model: StepModel, count: int, settings: SearchSettings, cancel: threading.Event
) -> list[Hypothesis]:
    """The best hypothesis of each of `count` sounds."""
    rules = predictor.rules
    rows = np.arange(count, dtype=np.int64)
    columns = [np.full(count, token, np.int64) for token in rules.start_ids]
    if predictor.languages and predictor.language is None:
        for column in columns:
            logits = model.step(column, rows)
        known = np.array(predictor.languages, np.int64)
        columns = [known[logits[:, known].argmax(-1)]]
    elif predictor.language is not None:
        columns.append(np.full(count, predictor.language, np.int64))
    columns += [np.full(count, token, np.int64) for token in predictor.prompt]
    return search(model, count, settings, rules, cancel, columns)
