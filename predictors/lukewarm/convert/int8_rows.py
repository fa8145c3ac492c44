"""Whole rows at 8 bits, one scale each, whose products overflow on no processor.

x86 processors without VNNI multiply unsigned activations (0 to 255) by signed weights and add neighbours up in sixteen
bits, which saturate (the instruction VPMADDUBSW). With a row's largest weight at 127, as runtimes scale it, two
neighbours of one sign overflow: most of what int8 loses on such processors comes from it. Here a row's scale is the
largest at which no pair of neighbours can: 255 * (a + b) stays below 32,767 if a + b is at most 128.
"""

from __future__ import annotations

from typing import Any

from lukewarm.convert import smoothing

_LARGEST = 127.0  # of one number; of a pair too, because rounding can add one to it


def rows(weight: Any) -> tuple[Any, Any]:
    """(8-bit numbers [outputs, inputs], scale [outputs] that multiplied them) of a weight in fp32."""
    import numpy as np

    largest = _pairs(weight)
    largest[largest == 0] = _LARGEST
    # the scale must be a number of fp32 for tiny rows too
    scale = _LARGEST / np.maximum(largest, np.float32(_LARGEST) / np.finfo(np.float32).max)
    scale = scale.astype(np.float32)
    return np.rint(weight * scale[:, None]).astype(np.int8), scale


def _pairs(weight: Any) -> Any:
    """Of each row, the largest sum of two neighbours of one sign, or a single weight."""
    import numpy as np

    both = np.pad(weight, ((0, 0), (0, weight.shape[1] % 2))).reshape(len(weight), -1, 2)
    positive, negative = np.maximum(both, 0).sum(axis=2).max(axis=1), np.maximum(-both, 0).sum(axis=2).max(axis=1)
    return np.maximum(positive, negative)


def _activations(values: Any) -> Any:
    """Each token by its largest value."""
    import numpy as np

    return at(values, np.abs(values).max(1))


def _weights(weight: Any) -> Any:
    return at(weight, _pairs(weight))


def at(values: Any, largest: Any) -> Any:
    """Rows rounded to 127 steps up to their largest [rows], as fp32."""
    import numpy as np

    step = np.maximum(largest / _LARGEST, np.finfo(np.float32).tiny)[:, None]
    return np.rint(values / step) * step


ROUNDING = smoothing.Rounding(inputs=_activations, weights=_weights)
