"""Sampling: the steps of transformers with their edges, true distributions, and independence of neighbours."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lukewarm.predictors.decoding import ArrayScores, Chooser, choose
from lukewarm.predictors.errors import UnsupportedError
from lukewarm.predictors.generation import Settings
from lukewarm.predictors.sampling import Sampler, distribution, draw, nucleus

SETTINGS: list[dict[str, Any]] = [
    {},
    {"top_k": 5},
    {"top_k": 1000},
    {"top_p": 0.9},
    {"top_p": 0.05},
    {"top_p": 0.999},
    {"temperature": 0.3, "top_k": 40, "top_p": 0.8},
    {"temperature": 2.5, "top_p": 0.6},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7, "top_k": 12, "top_p": 0.95},
]


def settings(**values: Any) -> Settings:
    return Settings(**{"max_new_tokens": 10, "temperature": 1.0, **values})


def logits(seed: int, size: int = 300) -> Any:
    return (np.random.default_rng(seed).normal(size=size) * 3).astype(np.float32)


def dense(scores: Any, wanted: Settings) -> Any:
    ids, weights = distribution(scores, wanted)
    full = np.zeros(scores.size)
    full[slice(None) if ids is None else ids] = weights / weights.sum(dtype=np.float64)
    return full


@pytest.mark.models
@pytest.mark.parametrize("values", SETTINGS)
def test_same_distribution_as_transformers(values: dict[str, Any]) -> None:
    """Their processors and warpers in the order of their `_get_logits_processor`: same tokens left, same chances."""
    import torch
    from transformers.generation import logits_process as theirs

    wanted = settings(**values)
    for seed in range(20):
        scores = logits(seed)
        prompt = np.random.default_rng(seed).integers(0, scores.size, 30).tolist()
        expected = torch.from_numpy(scores.copy())[None]
        ids = torch.tensor([prompt])
        if wanted.repetition_penalty != 1:
            expected = theirs.RepetitionPenaltyLogitsProcessor(wanted.repetition_penalty)(ids, expected)
        if wanted.temperature != 1:
            expected = theirs.TemperatureLogitsWarper(wanted.temperature)(ids, expected)
        if wanted.top_k:
            expected = theirs.TopKLogitsWarper(wanted.top_k)(ids, expected)
        if wanted.top_p < 1:
            expected = theirs.TopPLogitsWarper(wanted.top_p)(ids, expected)
        chances = expected.softmax(-1)[0].numpy()
        ours = dense(Sampler(wanted, prompt).adjust(scores), wanted)
        assert np.array_equal(ours > 0, chances > 0)
        assert np.abs(ours - chances).max() < 1e-6


def test_ties_with_the_kth_stay() -> None:
    scores = np.array([1, 3, 2, 2, 2, 0], np.float32)
    ids, _ = distribution(scores, settings(top_k=2))
    assert ids is not None
    assert ids.tolist() == [1, 2, 3, 4]


def test_top_p_keeps_at_least_the_best_and_of_equals_the_later() -> None:
    weights = np.array([0.25, 0.25, 0.25, 0.25], np.float32)
    assert nucleus(weights, 1e-9).tolist() == [3]
    assert nucleus(weights, 0.5).tolist() == [2, 3]
    assert nucleus(weights, 0.51).tolist() == [1, 2, 3]
    assert nucleus(np.array([0, 0, 5], np.float32), 0.999999).tolist() == [2]


@given(
    weights=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=50).filter(lambda values: sum(values) > 1e-6),
    top_p=st.floats(0.01, 0.99),
)
def test_nucleus_is_the_smallest_set_that_holds_top_p(weights: list[float], top_p: float) -> None:
    array = np.array(weights, np.float32)
    kept = nucleus(array, top_p)
    total = array.sum(dtype=np.float64)
    held = array[kept].sum(dtype=np.float64)
    assert held >= top_p * total - 1e-9 * total
    assert held - array[kept].min() <= top_p * total + 1e-9 * total
    rest = np.delete(array, kept)
    assert rest.size == 0 or rest.max() <= array[kept].min()


@pytest.mark.parametrize("values", SETTINGS)
def test_draws_have_the_distribution(values: dict[str, Any]) -> None:
    """Chi-square over 20,000 draws, tokens under 5 expected draws taken together; the limit is five deviations away."""
    wanted = settings(**values, seed=11)
    scores = logits(3, 60)
    sampler = Sampler(msgspec.structs.replace(wanted, repetition_penalty=1.0), [])
    chances = dense(scores, sampler.settings)
    count = 20_000
    seen = np.bincount([sampler.pick(scores) for _ in range(count)], minlength=scores.size)
    assert seen[chances == 0].sum() == 0
    common = chances * count >= 5
    observed = np.append(seen[common], seen[~common].sum())
    expected = np.append(chances[common], chances[~common].sum()) * count
    observed, expected = observed[expected > 0], expected[expected > 0]
    statistic = ((observed - expected) ** 2 / expected).sum()
    freedom = expected.size - 1
    assert statistic <= freedom + 5 * math.sqrt(2 * freedom)


@given(
    weights=st.lists(st.sampled_from([0.0, 1e-30, 0.1, 1.0]), min_size=1, max_size=1500).filter(any),
    uniform=st.one_of(st.floats(0, 1, exclude_max=True), st.just(1 - 2**-53)),
)
def test_draw_never_gives_a_token_without_weight(weights: list[float], uniform: float) -> None:
    assert weights[draw(None, np.array(weights, np.float32), uniform)] > 0


def test_seeds() -> None:
    scores = logits(5)
    picks = [[Sampler(settings(seed=seed), []).pick(scores) for _ in range(3)] for seed in (1, 2, 3, 4, 5, 6)]
    assert all(len(set(same)) == 1 for same in picks)
    assert len({same[0] for same in picks}) > 1
    unseeded = {Sampler(settings(), []).pick(scores) for _ in range(30)}
    assert len(unseeded) > 1


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    rows = [logits(seed) for seed in range(4)]
    wanted = [settings(seed=seed, top_p=0.9) for seed in range(3)] + [settings(temperature=0.0)]
    together = [Chooser(one, []) for one in wanted]
    for _ in range(5):
        batch = choose(ArrayScores(np.stack(rows)), together)
        assert batch[3] == rows[3].argmax()
    alone = Sampler(wanted[1], [])
    assert [alone.pick(rows[1]) for _ in range(5)][-1] == batch[1]


def test_the_penalty_counts_prompt_and_new_tokens_once() -> None:
    sampler = Sampler(settings(temperature=0.0, repetition_penalty=2.0), [1, 1])
    scores = np.array([3.0, 8.0, -1.0, 3.5], np.float32)
    assert sampler.adjust(scores).tolist() == [3.0, 4.0, -1.0, 3.5]
    assert [sampler.pick(scores) for _ in range(3)] == [1, 1, 1]
    assert sampler.pick(np.array([3.0, 5.0, -1.0, 0.0], np.float32)) == 0
    sampler.note(2)
    assert sampler.adjust(scores).tolist() == [1.5, 4.0, -2.0, 3.5]
    assert scores.tolist() == [3.0, 8.0, -1.0, 3.5], "the caller's logits stay as they were"


def test_ignored_end_tokens_are_never_chosen() -> None:
    sampler = Sampler(settings(temperature=0.0, ignore_eos=True, end_ids=frozenset({1, 99})), [])
    assert sampler.pick(np.array([0.0, 9.0, 1.0], np.float32)) == 2
    assert sampler.pick(np.array([3.0, 2.0, 1.0], np.float32)) == 0


def test_top_k_of_one_is_greedy() -> None:
    assert settings(top_k=1).greedy
    assert settings(temperature=0.0, top_p=0.5).greedy


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_outputs_that_are_not_numbers(bad: float, temperature: float) -> None:
    scores = np.array([0.0, bad, 1.0], np.float32)
    with pytest.raises(UnsupportedError, match="not numbers"):
        choose(ArrayScores(scores[None]), [Chooser(settings(temperature=temperature), [])])


def test_an_extreme_temperature_is_still_a_distribution() -> None:
    scores = logits(1)
    assert dense(scores, settings(temperature=1e-6)).max() == pytest.approx(1)
    assert dense(scores, settings(temperature=100.0)).min() > 0
