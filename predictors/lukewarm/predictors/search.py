"""Greedy and beam search over a `StepModel`, in numpy; gives what transformers' `generate` gives for the same logits.

Every sentence of a batch ends by itself and leaves the batch; transformers (5.23, `_beam_search`) keeps it, frozen.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lukewarm.predictors.tasks import FinishReason
from lukewarm.predictors.text_to_text import Hypothesis, Rules, SearchSettings
from lukewarm.predictors.timestamps import restrict

if TYPE_CHECKING:
    import numpy.typing as npt

    IntArray = npt.NDArray[np.int64]
    FloatArray = npt.NDArray[np.float32]

NEVER_CHOSEN = -1e9  # transformers' own stand-in for minus infinity where scores are added up


class StepModel(Protocol):
    """An encoder-decoder after its encoder ran. A row is one unfinished beam; rows stand by sentence."""

    def step(self, tokens: IntArray, origin: IntArray) -> FloatArray:
        """Append one token to each row and return float32 logits [rows, vocab].

        `origin[i]` is the row of the step before that row i goes on from; in the first step it is the sentence.
        """

    def sentences(self, kept: IntArray, beams: int) -> None:
        """From the next step on there are `beams` rows for each of these sentences (indices into the current ones)."""


@dataclass
class _Sentence:
    """A sentence's running beams, best first, and its finished ones."""

    index: int
    beams: list[list[int]]
    scores: FloatArray
    finished: list[tuple[float, list[int], bool]]  # (score, new tokens, ended by an end token), best first


def search(
    model: StepModel,
    count: int,
    settings: SearchSettings,
    rules: Rules,
    cancel: threading.Event,
    prompt: Sequence[IntArray] | None = None,
) -> list[Hypothesis]:
    """The best hypothesis of each of `count` sentences. After `cancel` the best so far, as `cancelled`.

    `prompt` gives the decoder's first tokens by column, int64 [count] each, instead of `rules.start_ids`.
    """
    columns = prompt or [np.full(count, token, np.int64) for token in rules.start_ids]
    rows = np.arange(count, dtype=np.int64)
    for column in columns:
        logits = model.step(column, rows)
    run = _greedy if settings.num_beams == 1 else _beam
    return run(model, logits, settings, rules, cancel)


def _greedy(
    model: StepModel, logits: FloatArray, settings: SearchSettings, rules: Rules, cancel: threading.Event
) -> list[Hypothesis]:
    count = len(logits)
    done: dict[int, Hypothesis] = {}
    alive = list(range(count))
    new: list[list[int]] = [[] for _ in range(count)]
    for position in range(settings.max_new_tokens):
        if cancel.is_set():
            break
        for row, sentence in enumerate(alive):
            _apply_rules(logits[row], new[sentence], rules, settings, position)
        chosen = logits.argmax(-1)
        keep = []
        for row, sentence in enumerate(alive):
            token = int(chosen[row])
            if token in rules.eos_ids:
                done[sentence] = Hypothesis(new[sentence], "eos")
            else:
                new[sentence].append(token)
                keep.append(row)
        if not keep or position + 1 == settings.max_new_tokens:
            break
        rows = np.array(keep, np.int64)
        if len(keep) < len(alive):
            alive = [alive[row] for row in keep]
            model.sentences(rows, 1)
        logits = model.step(chosen[rows].astype(np.int64), rows)
    reason: FinishReason = "cancelled" if cancel.is_set() else "length"
    return [done.get(index) or Hypothesis(new[index], reason) for index in range(count)]


def _beam(
    model: StepModel, logits: FloatArray, settings: SearchSettings, rules: Rules, cancel: threading.Event
) -> list[Hypothesis]:
    count = len(logits)
    beams = settings.num_beams
    done: dict[int, Hypothesis] = {}
    alive = [_Sentence(index, [[]], np.zeros(1, np.float32), []) for index in range(count)]
    for position in range(settings.max_new_tokens):
        if cancel.is_set():
            break
        scores = log_softmax(logits)
        tokens: list[int] = []
        origin: list[int] = []
        kept: list[int] = []
        first = 0
        for place, sentence in enumerate(alive):
            width = len(sentence.beams)
            part = scores[first : first + width]
            parents = _advance(sentence, part, settings, rules, position)
            if _is_over(sentence, settings, rules, position + 1):
                done[sentence.index] = _best(sentence)
            else:
                kept.append(place)
                origin += [first + parent for parent in parents]
                tokens += [beam[-1] for beam in sentence.beams]
            first += width
        if not kept:
            break
        if len(kept) < len(alive) or position == 0:
            model.sentences(np.array(kept, np.int64), beams)
            alive = [alive[place] for place in kept]
        logits = model.step(np.array(tokens, np.int64), np.array(origin, np.int64))
    return [done.get(index) or _cut_short(alive, index) for index in range(count)]


def _advance(
    sentence: _Sentence, log_probs: FloatArray, settings: SearchSettings, rules: Rules, position: int
) -> list[int]:
    """Extend the beams by their best tokens; ended ones move to `finished`. Returns each new beam's parent."""
    beams = settings.num_beams
    for row, beam in enumerate(sentence.beams):
        _apply_rules(log_probs[row], beam, rules, settings, position)
    totals = (log_probs + sentence.scores[:, None]).ravel()
    keep = min(max(2, 1 + len(rules.eos_ids)) * beams, totals.size)
    candidates = _top(totals, keep)
    vocab = log_probs.shape[1]
    last = position + 1 == settings.max_new_tokens
    going: list[tuple[float, int, list[int]]] = []
    for rank, candidate in enumerate(candidates.tolist()):
        parent, token = divmod(candidate, vocab)
        score = float(totals[candidate])
        ended = token in rules.eos_ids
        if ended or last:
            # as transformers: only the best `beams` candidates may end, the others are spare
            if rank < beams:
                text = sentence.beams[parent] if ended else [*sentence.beams[parent], token]
                _finish(sentence, score / (position + 1) ** settings.length_penalty, text, ended, settings, rules)
        elif len(going) < beams:
            going.append((score, parent, [*sentence.beams[parent], token]))
    # a vocabulary smaller than the beam: copies that can never win keep the rows in step
    going += [(-np.inf, *going[0][1:])] * (beams - len(going)) if going else []
    sentence.beams = [beam for _, _, beam in going]
    sentence.scores = np.array([score for score, _, _ in going], np.float32)
    return [parent for _, parent, _ in going]


def _finish(
    sentence: _Sentence, score: float, tokens: list[int], ended: bool, settings: SearchSettings, rules: Rules
) -> None:
    if rules.early_stopping is True and len(sentence.finished) == settings.num_beams:
        return
    sentence.finished.append((score, tokens, ended))
    sentence.finished.sort(key=lambda item: -item[0])  # stable: the earlier of two equals stays ahead
    del sentence.finished[settings.num_beams :]


def _is_over(sentence: _Sentence, settings: SearchSettings, rules: Rules, length: int) -> bool:
    """Whether no running beam can still beat the finished ones; `length` is the number of new tokens."""
    if length >= settings.max_new_tokens or not sentence.beams:
        return True
    if len(sentence.finished) < settings.num_beams:
        return False
    if rules.early_stopping is True:
        return True
    longest = rules.early_stopping == "never" and settings.length_penalty > 0.0
    reach = settings.max_new_tokens if longest else length
    return bool(float(sentence.scores[0]) / reach**settings.length_penalty <= sentence.finished[-1][0])


def _best(sentence: _Sentence) -> Hypothesis:
    if not sentence.finished:
        return Hypothesis(sentence.beams[0] if sentence.beams else [], "length")
    _, tokens, ended = sentence.finished[0]
    return Hypothesis(tokens, "eos" if ended else "length")


def _cut_short(alive: list[_Sentence], index: int) -> Hypothesis:
    sentence = next(sentence for sentence in alive if sentence.index == index)
    tokens = sentence.finished[0][1] if sentence.finished else sentence.beams[0]
    return Hypothesis(tokens, "cancelled")


def _top(values: FloatArray, count: int) -> IntArray:
    """Indices of the largest values, best first; among equals the first."""
    if count < values.size:
        part = np.argpartition(values, -count)[-count:]
        part.sort()
    else:
        part = np.arange(values.size)
    order: IntArray = part[np.argsort(-values[part], kind="stable")]
    return order


def log_softmax(logits: FloatArray) -> FloatArray:
    """Log-probabilities along the last axis, in place of `logits`."""
    logits -= logits.max(-1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
    return logits


def _apply_rules(scores: Any, new: list[int], rules: Rules, settings: SearchSettings, position: int) -> None:
    """What the model's generation config forbids or forces at this place, on one row of scores, in place."""
    minus = -np.inf
    if rules.repetition_penalty != 1.0:
        seen = np.unique(np.array([*rules.start_ids, *new], np.int64))
        values = scores[seen]
        scores[seen] = np.where(values < 0, values * rules.repetition_penalty, values / rules.repetition_penalty)
    if rules.no_repeat_ngram_size:
        banned = repeated_ngrams([*rules.start_ids, *new], rules.no_repeat_ngram_size)
        scores[banned] = minus
    if position < rules.min_new_tokens:
        scores[list(rules.eos_ids)] = minus
    if rules.suppress_ids:
        scores[list(rules.suppress_ids)] = minus
    if position == 0 and rules.begin_suppress_ids:
        scores[list(rules.begin_suppress_ids)] = minus
    if position == 0 and rules.forced_bos_id is not None:
        _force(scores, rules.forced_bos_id)
    if rules.clock is not None:
        restrict(scores, new, rules.clock)
    if position + 1 == settings.max_new_tokens and rules.forced_eos_ids:
        _force(scores, *rules.forced_eos_ids)


def _force(scores: Any, *tokens: int) -> None:
    scores[:] = -np.inf
    scores[list(tokens)] = 0.0


def repeated_ngrams(tokens: list[int], size: int) -> list[int]:
    """The tokens that would complete an n-gram which stands in `tokens` already."""
    if len(tokens) + 1 < size:
        return []
    tail = tuple(tokens[len(tokens) - size + 1 :])
    starts = range(len(tokens) - size + 1)
    return [tokens[at + size - 1] for at in starts if tuple(tokens[at : at + size - 1]) == tail]
