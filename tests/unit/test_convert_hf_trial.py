"""What a conversion holds to be another output, and what to be rounding."""

from __future__ import annotations

import numpy as np

from lukewarm.convert.hf_trial import _near, _near_quantized

DRAW = np.random.default_rng(0)
LOGITS = DRAW.standard_normal((4, 1000)).astype(np.float32)


def test_rounding_at_8_bits_is_no_other_output() -> None:
    """Mean 0.18 of the spread and single logits by 0.8, as measured on SmolLM2-135M."""
    noise = DRAW.standard_normal(LOGITS.shape) * 0.225
    noise[0, 0] = 0.85
    assert _near_quantized(LOGITS + noise, LOGITS)
    assert not _near(LOGITS + noise, LOGITS)


def test_the_logits_of_another_position_are_another_output() -> None:
    assert not _near_quantized(LOGITS[::-1], LOGITS)
    half = np.concatenate([LOGITS[:2], LOGITS[:1:-1]])  # two of four steps go wrong
    assert not _near_quantized(half, LOGITS)
    assert not _near(LOGITS[::-1], LOGITS)


def test_in_fp32_every_logit_counts() -> None:
    near, far = LOGITS.copy(), LOGITS.copy()
    near[0, 0] += 0.04
    far[0, 0] += 0.2
    assert _near(near, LOGITS)
    assert not _near(far, LOGITS)
