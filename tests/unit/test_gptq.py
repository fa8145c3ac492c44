"""Calibrated 4-bit rounding: layers lose less in their outputs than by rounding each weight, in the same form."""

from __future__ import annotations

import numpy as np
import pytest

from lukewarm.convert.to_ort import gptq, quantize

WIDTH, ROWS, TOKENS = 64, 48, 400


@pytest.fixture
def layer() -> tuple[np.ndarray, np.ndarray]:
    """Inputs whose columns hang together, as those of a real layer do, and a weight [width, rows]."""
    random = np.random.default_rng(0)
    inputs = random.standard_normal((TOKENS, WIDTH)) @ random.standard_normal((WIDTH, WIDTH))
    return inputs.astype(np.float32), random.standard_normal((WIDTH, ROWS)).astype(np.float32)


def _values(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Weights [width, rows] of the packed form."""
    whole = np.stack([codes & 15, codes >> 4], -1).reshape(*codes.shape[:2], quantize.BLOCK).astype(np.float32) - 8
    return (whole * scales[..., None]).reshape(len(codes), -1).T


def _lost(layer: tuple[np.ndarray, np.ndarray], found: np.ndarray) -> float:
    inputs, weight = layer
    return float(((inputs @ (found - weight)) ** 2).sum())


def test_outputs_lose_less_than_by_rounding(layer: tuple[np.ndarray, np.ndarray]) -> None:
    inputs, weight = layer
    plain = _values(*quantize.blocks(weight.T, 4))
    found = _values(*quantize.packed(*gptq.solve(weight, inputs.T @ inputs, quantize.BLOCK)))
    assert _lost(layer, found) < 0.6 * _lost(layer, plain)


def test_each_sweep_of_descent_loses_no_more(layer: tuple[np.ndarray, np.ndarray]) -> None:
    inputs, weight = layer
    losses = []
    for sweeps in (0, 1, 4):
        codes, scales = gptq.solve(weight, inputs.T @ inputs, quantize.BLOCK, sweeps)
        losses.append(_lost(layer, codes * np.repeat(scales, quantize.BLOCK, axis=0)))
    assert losses[0] > losses[1] >= losses[2]


def test_same_input_same_codes_and_the_weight_stays(layer: tuple[np.ndarray, np.ndarray]) -> None:
    inputs, weight = layer
    before = weight.copy()
    first, second = (gptq.solve(weight, inputs.T @ inputs, quantize.BLOCK) for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    assert np.array_equal(weight, before)


def test_inputs_that_no_sample_has(layer: tuple[np.ndarray, np.ndarray]) -> None:
    _, weight = layer
    codes, scales = gptq.solve(weight, np.zeros((WIDTH, WIDTH), np.float32), quantize.BLOCK)
    assert np.isfinite(scales).all()
    assert codes.min() >= gptq.LOW
    assert codes.max() <= gptq.HIGH
