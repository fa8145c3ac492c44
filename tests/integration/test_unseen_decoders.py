"""Decoders of all kinds: each backend says what transformers says, or refuses and names another one. No fault else."""

from __future__ import annotations

import pytest

from lukewarm.convert.to_ort import whole_rows
from support import unseen_decoders

pytestmark = pytest.mark.models


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mamba", "same"),  # a state instead of keys and values; long prompts in one piece
        ("cpmant", "refused: UnsupportedError: transformers runs CpmAntForCausalLM not as a text generator"),
    ],
)
def test_hf_says_what_transformers_says(name: str, says: str) -> None:
    found = unseen_decoders.sweep(name, [("hf", "fp32")])
    assert found["hf fp32"].startswith(says), found


@pytest.mark.slow
@pytest.mark.parametrize("name", unseen_decoders.NAMES)
def test_every_decoder_is_carried_or_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_rows, "SMALL", 1)  # tiny models have no product that is worth it
    pairs = [("hf", "fp32"), ("ct2", "fp32"), ("bnb", "nf4")]
    pairs += [("ort", precision) for precision in ("fp32", "int8", "int4", "dynamic-int8")]
    for row, text in unseen_decoders.sweep(name, pairs).items():
        fine = ("same", "runs", "refused: UnsupportedError", "refused: AccuracyError", "not built")
        assert text.startswith(fine), f"{row}: {text}"
