"""Text generation means the same on hf and ct2 as in transformers itself, on tiny random models."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest

from support.text_generation import BACKENDS, NEW_TOKENS, answers, asked, generated, predictor, reference
from support.tiny_models import ARCHITECTURES, prompts

pytestmark = pytest.mark.models

CT2_ARCHITECTURES = ["llama", "gpt2", "qwen2", "mistral", "opt", "bloom"]  # its converters do not read the others of v5
CASES = [("hf", name) for name in ARCHITECTURES] + [("ct2", name) for name in CT2_ARCHITECTURES]


@pytest.mark.parametrize(("backend", "architecture"), CASES)
def test_greedy_text_is_that_of_transformers(backend: str, architecture: str) -> None:
    """Prompts of 1 to 20 words, 50 for the two best known models: alone, and all in one padded batch."""
    texts = prompts(50 if architecture in ("llama", "gpt2") else 15)
    model = predictor(backend, architecture)
    expected = [generated(architecture, text) for text in texts]
    requests = [asked(text) for text in texts]
    assert [result.text for result in answers(model, requests)] == expected
    assert [answers(model, [request])[0].text for request in requests] == expected
    assert len(set(expected)) > len(texts) / 2, "the model says the same to everything: no test"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("penalty", [1.3, 0.8])
def test_the_penalty_is_that_of_transformers(backend: str, penalty: float) -> None:
    texts = prompts(20)
    results = answers(predictor(backend), [asked(text, repetition_penalty=penalty) for text in texts])
    assert [result.text for result in results] == [generated("gpt2", t, repetition_penalty=penalty) for t in texts]


@pytest.mark.parametrize("backend", BACKENDS)
def test_ignored_end_tokens_are_those_of_min_new_tokens(backend: str) -> None:
    texts = prompts(20)
    results = answers(predictor(backend), [asked(text, ignore_eos=True) for text in texts])
    assert [result.text for result in results] == [generated("gpt2", t, min_new_tokens=NEW_TOKENS) for t in texts]
    assert {result.completion_tokens for result in results} == {NEW_TOKENS}


SETTINGS: list[dict[str, Any]] = [
    {"temperature": 0.8, "seed": 5},
    {"temperature": 1.2, "seed": 6, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.2},
    {"repetition_penalty": 1.1, "stop": ["e", "or "]},
    {"stop": ["<|im_start|>", "in"]},
]


@pytest.mark.parametrize("values", SETTINGS, ids=str)
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_backends_agree_alone_batched_and_streamed(architecture: str, values: dict[str, Any]) -> None:
    requests = [asked(text, **values) for text in prompts(12)]
    expected = answers(predictor("hf", architecture), requests)
    for backend in BACKENDS:
        model = predictor(backend, architecture)
        assert answers(model, requests) == expected
        assert [answers(model, [request])[0] for request in requests[:4]] == expected[:4]
        for request, result in zip(requests, expected, strict=True):
            deltas = list(model.stream(request))
            assert deltas[-1].result == result
            assert "".join(delta.text for delta in deltas) == result.text


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_of_different_settings(backend: str) -> None:
    values: list[dict[str, Any]] = [*SETTINGS, {}, {"max_new_tokens": 3}, {"ignore_eos": True}]
    requests = [asked(text, **more) for text, more in zip(prompts(7), values, strict=True)]
    alone = [answers(predictor(backend), [request])[0] for request in requests]
    assert answers(predictor(backend), requests) == alone


@pytest.mark.parametrize("backend", BACKENDS)
def test_seeds(backend: str) -> None:
    requests = [asked("the first token", temperature=1.0, seed=seed) for seed in (1, 2, 3, 1)]
    texts = [result.text for result in answers(predictor(backend), requests)]
    assert texts[0] == texts[3]
    assert len(set(texts)) == 3
    unseeded = {answers(predictor(backend), [asked("the first token", temperature=1.0)])[0].text for _ in range(4)}
    assert len(unseeded) > 1


def chances(prompt: str, values: dict[str, Any]) -> Any:
    """The next token's distribution by transformers' own processors."""
    import torch
    from transformers.generation import logits_process as theirs

    model, tokenizer = reference("gpt2")
    inputs = tokenizer(prompt, return_tensors="pt")
    with torch.inference_mode():
        scores = model(**inputs).logits[:, -1].float()
    if penalty := values.get("repetition_penalty"):
        scores = theirs.RepetitionPenaltyLogitsProcessor(penalty)(inputs.input_ids, scores)
    scores = theirs.TemperatureLogitsWarper(values["temperature"])(inputs.input_ids, scores)
    if top_k := values.get("top_k"):
        scores = theirs.TopKLogitsWarper(top_k)(inputs.input_ids, scores)
    if top_p := values.get("top_p"):
        scores = theirs.TopPLogitsWarper(top_p)(inputs.input_ids, scores)
    return scores.softmax(-1)[0].double().numpy()


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": 0.7},
        {"temperature": 1.5, "top_k": 8},
        {"temperature": 1.5, "top_k": 100_000},
        {"temperature": 1.5, "top_p": 0.7},
        {"temperature": 0.7, "top_k": 30, "top_p": 0.9},
        {"temperature": 2.0, "repetition_penalty": 3.0, "top_k": 12},
        {"temperature": 2.0, "repetition_penalty": 3.0, "top_p": 0.9},
    ],
    ids=str,
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_sampling_has_the_distribution_of_transformers(backend: str, values: dict[str, Any]) -> None:
    """Chi-square over 3,000 unseeded first tokens; the limit is five deviations away."""
    prompt = "token numbers"
    model = predictor(backend)
    seen = np.zeros(512)
    for _ in range(10):
        rows = [model.row(asked(prompt, max_new_tokens=1, **values)) for _ in range(300)]
        model.complete(rows, threading.Event())
        np.add.at(seen, [row.tokens[0] for row in rows], 1)
    expected = chances(prompt, values)
    assert seen[expected == 0].sum() == 0
    common = expected * seen.sum() >= 5
    counts = np.append(seen[common], seen[~common].sum())
    wanted = np.append(expected[common], expected[~common].sum()) * seen.sum()
    counts, wanted = counts[wanted > 0], wanted[wanted > 0]
    freedom = max(wanted.size - 1, 1)
    assert ((counts - wanted) ** 2 / wanted).sum() <= freedom + 5 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "bloom"])
def test_scores_are_the_models_logits(architecture: str) -> None:
    import torch

    model, tokenizer = reference(architecture)
    ids = tokenizer("the model answers a request").input_ids
    with torch.inference_mode():
        expected = model(torch.tensor([ids])).logits[0].numpy()
    for backend in BACKENDS:
        scores = predictor(backend, architecture).score(ids)
        assert scores.dtype == np.float32
        assert np.abs(scores - expected).max() < 1e-4
