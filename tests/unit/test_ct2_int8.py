"""8-bit weights for CTranslate2: no pair of neighbours overflows sixteen bits, no row is coarser than it must be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lukewarm.convert import ct2_int8, int8_rows
from support.tiny_models import tiny_model


def _pairs(weight: Any) -> tuple[int, int]:
    """The least and the greatest sum of two neighbours [2k, 2k+1], each where the activation makes most of it."""
    numbers = weight.astype(np.int64)
    numbers = np.pad(numbers, ((0, 0), (0, numbers.shape[1] % 2))).reshape(len(numbers), -1, 2)
    return int(np.minimum(numbers, 0).sum(2).min()), int(np.maximum(numbers, 0).sum(2).max())


def _saturates(weight: Any) -> bool:
    least, greatest = _pairs(weight)
    return 255 * least < -(2**15) or 255 * greatest > 2**15 - 1


@pytest.mark.parametrize("inputs", [1, 2, 63, 64])
def test_no_pair_overflows_and_half_a_step_is_lost_at_most(inputs: int) -> None:
    weight = np.random.default_rng(inputs).standard_normal((300, inputs)).astype(np.float32)
    numbers, scale = int8_rows.rows(weight)
    assert numbers.dtype == np.int8
    assert scale.dtype == np.float32
    assert not _saturates(numbers)
    assert np.abs(numbers / scale[:, None] - weight).max() <= 0.5001 / scale.min()
    plain = np.rint(weight * (127 / np.abs(weight).max(1))[:, None])
    assert _saturates(plain) is (inputs > 1), "the library's scale would do: no test"


def test_the_scale_is_the_largest_that_may_be() -> None:
    lonely = np.array([[1.0, -1.0, 0.0, 0.5]], np.float32)  # neighbours of opposite signs cannot add up
    assert int8_rows.rows(lonely)[0].tolist() == [[127, -127, 0, 64]]
    worst = np.full((1, 4), -3.0, np.float32)
    assert int8_rows.rows(worst)[0].tolist() == [[-64] * 4]
    assert 255 * 128 <= 2**15 - 1 < 255 * 130


def test_rows_of_zeros_and_of_tiny_numbers() -> None:
    weight = np.array([[0.0, 0.0], [1e-42, 1e-42], [-1e38, -1e38]], np.float32)
    numbers, scale = int8_rows.rows(weight)
    assert np.isfinite(scale).all()
    assert numbers[0].tolist() == [0, 0]
    assert not _saturates(numbers)


@pytest.mark.models
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_every_product_of_a_converted_model(architecture: str) -> None:
    from ctranslate2.converters import TransformersConverter

    library, ours = (TransformersConverter(str(tiny_model(architecture)))._load() for _ in range(2))
    for specification in (library, ours):
        specification.validate()
    library.optimize("int8")
    ct2_int8.quantize(ours)
    theirs, found = library.variables(), ours.variables()
    assert theirs.keys() == found.keys()
    products = [
        name
        for name, value in theirs.items()
        if not isinstance(value, str) and len(value.shape) == 2 and value.dtype == "int8"
    ]
    assert len(products) > 8
    for name, value in theirs.items():
        if isinstance(value, str):  # tied
            assert found[name] == value
        elif name in products:
            assert found[name].dtype == "int8"
            assert not _saturates(found[name].numpy()), name
        elif not name.endswith("_scale"):
            assert (found[name].dtype, list(found[name].shape)) == (value.dtype, list(value.shape)), name
    assert any(_saturates(theirs[name].numpy()) for name in products), "the library's would do: no test"
