"""Beam and greedy search over a model that is a table: every result can be computed by trying all texts."""

from __future__ import annotations

import itertools
import math
import threading

import numpy as np
import pytest

from lukewarm.predictors.search import log_softmax, repeated_ngrams, search
from lukewarm.predictors.text_to_text import Hypothesis, Rules, SearchSettings, rules_from

VOCAB, END = 5, 0
RULES = Rules(start_ids=(4,), eos_ids=(END,))


class Table:
    """Logits depend on the sentence, the place and the last token; rows follow `origin` as a cache would."""

    def __init__(self, count: int, seed: int = 0) -> None:
        self.table = np.random.default_rng(seed).normal(0, 2, (count, 12, VOCAB, VOCAB)).astype(np.float32)
        self.owner = np.arange(count)  # sentence of each row of the step before
        self.current = np.arange(count)  # sentences that are left
        self.place = -1
        self.beams = 1

    def step(self, tokens, origin):
        assert (self.owner[origin] == np.repeat(self.current, self.beams)).all(), "a row left its sentence"
        self.place += 1
        self.owner = self.owner[origin]
        return self.table[self.owner, self.place, tokens].copy()

    def sentences(self, kept, beams):
        self.current = self.current[kept]
        self.beams = beams


def _score(table: Table, sentence: int, text: tuple[int, ...]) -> float:
    """Sum of log-probabilities of the tokens of a text, the end token included."""
    total, last = 0.0, 4
    for place, token in enumerate(text):
        total += float(log_softmax(table.table[sentence, place, last][None].copy())[0, token])
        last = token
    return total


def _best_text(table: Table, sentence: int, limit: int, penalty: float) -> list[int]:
    """By trying every text: what a beam search with enough beams must find."""
    found: list[tuple[float, list[int]]] = []
    for length in range(limit + 1):
        for body in itertools.product(range(1, VOCAB), repeat=length):
            text = (*body, END) if length < limit else body
            found.append((_score(table, sentence, text) / len(text) ** penalty, list(body)))
    return max(found)[1]


@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_enough_beams_find_the_best_of_all_texts(seed: int, penalty: float) -> None:
    rules = Rules(start_ids=(4,), eos_ids=(END,), early_stopping="never")
    found = search(Table(3, seed), 3, SearchSettings(3, 64, penalty), rules, threading.Event())
    wanted = [_best_text(Table(3, seed), sentence, 3, penalty) for sentence in range(3)]
    assert [hypothesis.tokens for hypothesis in found] == wanted


@pytest.mark.parametrize("beams", [1, 2, 4])
def test_a_batch_gives_what_each_sentence_gives_alone(beams: int) -> None:
    together = search(Table(6), 6, SearchSettings(8, beams), RULES, threading.Event())
    for sentence in range(6):
        alone = Table(6)
        alone.table = alone.table[sentence : sentence + 1]
        alone.owner = alone.current = np.arange(1)
        assert search(alone, 1, SearchSettings(8, beams), RULES, threading.Event()) == [together[sentence]]


def test_greedy_is_the_best_token_again_and_again() -> None:
    table = Table(1)
    found = search(Table(1), 1, SearchSettings(8), RULES, threading.Event())[0]
    tokens, last = [], 4
    for place in range(8):
        last = int(table.table[0, place, last].argmax())
        if last == END:
            break
        tokens.append(last)
    assert found == Hypothesis(tokens, "eos" if last == END else "length")


@pytest.mark.parametrize("beams", [1, 3])
def test_rules_forbid_and_force(beams: int) -> None:
    settings = SearchSettings(6, beams)

    def run(**rules):
        made = Rules(start_ids=(4,), eos_ids=(END,), **rules)
        return [h.tokens for h in search(Table(4, 3), 4, settings, made, threading.Event())]

    assert all(3 not in tokens for tokens in run(suppress_ids=(3,)))
    assert all(tokens[:1] != [2] for tokens in run(begin_suppress_ids=(2,)))
    assert all(tokens[0] == 1 for tokens in run(forced_bos_id=1))
    assert all(len(tokens) >= 5 for tokens in run(min_new_tokens=5))
    assert all(len(tokens) <= 5 for tokens in run(forced_eos_ids=(END,)))
    for tokens in run(no_repeat_ngram_size=1, suppress_ids=(END,), min_new_tokens=2):
        assert len(set(tokens[:4])) == len(tokens[:4])


@pytest.mark.parametrize("beams", [1, 3])
def test_cancel_ends_with_what_there_is(beams: int) -> None:
    cancel = threading.Event()

    class Stops(Table):
        def step(self, tokens, origin):
            if self.place == 2:
                cancel.set()
            return super().step(tokens, origin)

    rules = Rules(start_ids=(4,), eos_ids=(END,), suppress_ids=(END,))
    found = search(Stops(2), 2, SearchSettings(9, beams), rules, cancel)
    assert [hypothesis.reason for hypothesis in found] == ["cancelled"] * 2
    assert all(0 < len(hypothesis.tokens) < 9 for hypothesis in found)


def test_repeated_ngrams() -> None:
    assert repeated_ngrams([1, 2, 3, 1, 2], 3) == [3]
    assert repeated_ngrams([1, 2, 3], 4) == []
    assert repeated_ngrams([5, 5], 2) == [5]
    assert repeated_ngrams([7], 1) == [7]


def test_log_softmax_sums_to_one() -> None:
    values = log_softmax(np.array([[1000.0, 0.0, -1000.0], [0.0, 0.0, 0.0]], np.float32))
    assert np.isfinite(values).all()
    assert np.allclose(np.exp(values).sum(-1), 1)
    assert math.isclose(float(values[1, 0]), math.log(1 / 3), rel_tol=1e-6)


def test_rules_of_a_generation_config() -> None:
    generation = {"decoder_start_token_id": 9, "eos_token_id": [0, 2], "bad_words_ids": [[9], [4]], "min_length": 5,
                  "max_length": 142, "no_repeat_ngram_size": 3, "early_stopping": True}  # fmt: skip
    rules = rules_from(generation, {"forced_bos_token_id": 7, "eos_token_id": 1})  # the file rules alone
    assert rules_from({}, {"decoder_start_token_id": 3, "forced_bos_token_id": 7}).forced_bos_id == 7
    assert rules == Rules(
        start_ids=(9,), eos_ids=(0, 2), suppress_ids=(4, 9), min_new_tokens=4, max_new_tokens=142,
        no_repeat_ngram_size=3, early_stopping=True,
    )  # fmt: skip
    assert Rules(**{k: tuple(v) if isinstance(v, list) else v for k, v in rules.options().items()}) == rules
    with pytest.raises(ValueError, match="several tokens"):
        rules_from({**generation, "bad_words_ids": [[1, 2]]}, {})
    with pytest.raises(ValueError, match="sequence_bias"):
        rules_from({**generation, "sequence_bias": {"x": 1}}, {})
