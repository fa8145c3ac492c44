"""Predictors over tiny models and what transformers says of the same ones, kept for the test session."""

from __future__ import annotations

import functools
from typing import Any, cast

from lukewarm.predictors import Predictor, Runtime, load_predictor
from lukewarm.predictors.tasks import TextGenerationRequest, TextGenerationResult
from support.tiny_models import ct2_bundle, hf_bundle, session_root, tiny_model

NEW_TOKENS = 24
BACKENDS = ["hf", "ct2"]


def predictor(backend: str, architecture: str = "gpt2") -> Any:
    """The predictor of a tiny model in fp32 on one thread."""
    return _predictor(backend, architecture)


@functools.cache
def _predictor(backend: str, architecture: str) -> Predictor:
    make = hf_bundle if backend == "hf" else ct2_bundle
    target = make(tiny_model(architecture), session_root() / f"bundle-{backend}-{architecture}")
    return load_predictor(target, Runtime(threads=1, device="cpu"))


@functools.cache
def reference(architecture: str) -> tuple[Any, Any]:
    """The same model and its tokenizer in transformers."""
    import torch
    import transformers

    torch.set_num_threads(1)
    source = tiny_model(architecture)
    return (
        transformers.AutoModelForCausalLM.from_pretrained(source).eval(),
        transformers.AutoTokenizer.from_pretrained(source),
    )


@functools.cache
def generated(architecture: str, prompt: str, **arguments: Any) -> str:
    """The greedy text of transformers' `generate`."""
    model, tokenizer = reference(architecture)
    inputs = tokenizer(prompt, return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False, **arguments)
    return str(tokenizer.decode(output[0, inputs.input_ids.shape[1] :], skip_special_tokens=True))


def asked(prompt: str, **values: Any) -> TextGenerationRequest:
    return TextGenerationRequest(prompt=prompt, **{"max_new_tokens": NEW_TOKENS, **values})


def answers(model: Predictor, requests: list[TextGenerationRequest]) -> list[TextGenerationResult]:
    return cast(list[TextGenerationResult], model.predict_batch(requests))
