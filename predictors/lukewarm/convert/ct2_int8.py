"""8-bit weights for CTranslate2 whose products overflow on no processor.

x86 processors without VNNI multiply unsigned activations (0 to 255) by signed weights and add neighbours up in sixteen
bits, which saturate (the instruction VPMADDUBSW). CTranslate2 scales each row of a weight to 127, where two neighbours
of one sign overflow: most of what int8 lost there came from it. Here a row's scale is the largest at which no pair of
neighbours can: 255 * (a + b) stays below 32,767 if a + b is at most 128.
"""

from __future__ import annotations

from typing import Any

_LARGEST = 127.0  # of one number; of a pair too, because rounding can add one to it


def quantize(specification: Any) -> None:
    """Do what a converter's specification does in `optimize("int8")`, with such scales. Changes it in place."""
    from ctranslate2.specs.model_spec import NumpyVariable, index_spec

    specification._alias_variables()
    done = set()
    for name, value in specification.variables().items():
        scope, _, attribute = name.rpartition("/")
        layer = index_spec(specification, scope)
        # not the three-dimensional weights of convolutions, whose pairs lie otherwise; a text names an equal variable
        if isinstance(value, str) or not hasattr(layer, f"{attribute}_scale") or len(value.shape) != 2:
            continue
        weight, scale = rows(value.to("float32").numpy())
        setattr(layer, attribute, NumpyVariable(weight))
        setattr(layer, f"{attribute}_scale", NumpyVariable(scale))
        done.add(name)
    specification._quantize("int8", lambda name: name not in done)


def rows(weight: Any) -> tuple[Any, Any]:
    """(8-bit numbers [outputs, inputs], scale [outputs] that multiplied them) of a weight in fp32."""
    import numpy as np

    pairs = np.pad(weight, ((0, 0), (0, weight.shape[1] % 2))).reshape(len(weight), -1, 2)
    positive = np.maximum(pairs, 0).sum(axis=2).max(axis=1)
    negative = np.maximum(-pairs, 0).sum(axis=2).max(axis=1)
    largest = np.maximum(positive, negative)  # a pair of one sign, or a single one
    largest[largest == 0] = _LARGEST
    # the scale must be a number of fp32 for tiny rows too
    scale = _LARGEST / np.maximum(largest, np.float32(_LARGEST) / np.finfo(np.float32).max)
    scale = scale.astype(np.float32)
    return np.rint(weight * scale[:, None]).astype(np.int8), scale
