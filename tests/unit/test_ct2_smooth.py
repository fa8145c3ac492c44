"""Smoothing of activations for CTranslate2: the same model in fp32, and a smaller loss at 8 bits."""

from __future__ import annotations

from typing import Any

import pytest

from lukewarm.convert import ct2_smooth, int8_rows, smoothing
from support.tiny_models import VOCAB_SIZE, tiny_model

ROWS = [[(7 * row + 3 * place * place) % VOCAB_SIZE for place in range(48)] for row in range(4)]


def _model(architecture: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model(architecture), dtype=torch.float32).eval()
    with torch.no_grad():  # what real models have and drawn ones have not: a few channels far above the others
        for layer in model.model.layers:
            layer.input_layernorm.weight[3] *= 60
            layer.post_attention_layernorm.weight[5] *= 60
            layer.mlp.up_proj.weight[7] *= 60
    return model


@pytest.mark.models
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_the_model_is_the_same_in_fp32(architecture: str) -> None:
    import torch

    model = _model(architecture)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        expected = model(torch.tensor(ROWS)).logits
        changed = ct2_smooth.smooth(model, ROWS)
        found = model(torch.tensor(ROWS)).logits
    assert (found - expected).abs().max() < 1e-4
    assert changed >= 4
    after = model.state_dict()
    assert sum(not torch.equal(before[name], after[name]) for name in before) > changed, "nothing was moved: no test"


@pytest.mark.models
def test_outliers_cost_less_afterwards() -> None:
    import torch

    model = _model("llama")
    pairs, seen = list(ct2_smooth._pairs(model)), {}

    def losses() -> list[float]:
        hooks = [
            pair.readers[0].register_forward_pre_hook(
                lambda _module, inputs, place=place: seen.__setitem__(place, inputs[0].flatten(0, -2))
            )
            for place, pair in enumerate(pairs)
        ]
        model(torch.tensor(ROWS))
        for hook in hooks:
            hook.remove()
        weights = [torch.cat([reader.weight for reader in pair.readers]).numpy() for pair in pairs]
        inputs = [seen[place].numpy() for place in range(len(pairs))]
        return [
            smoothing.error(given, weight, given @ weight.T, int8_rows.ROUNDING)
            for given, weight in zip(inputs, weights, strict=True)
        ]

    with torch.no_grad():
        before = losses()
        ct2_smooth.smooth(model, ROWS)
        after = losses()
    assert all(now <= was * 1.001 for was, now in zip(before, after, strict=True))  # no change is a choice
    assert sum(after) < sum(before) / 3


def test_calibration_is_on_other_chapters_than_accuracy() -> None:
    read: list[str] = []

    class Tokenizer:
        def ids(self, text: str) -> list[int]:
            read.append(text)
            return list(range(len(text)))  # the scrap at the end is too short for a row

    rows = smoothing.calibration_rows(Tokenizer(), 1000, 4096)
    assert {len(row) for row in rows} == {128}
    measured = smoothing.texts.read(None)
    assert not any(text in measured for text in read if len(text) > 128)
