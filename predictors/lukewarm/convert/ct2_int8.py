"""8-bit weights for CTranslate2 that no processor's arithmetic overflows on.

Without VNNI an x86 processor multiplies eight-bit numbers in pairs, unsigned activations (0 to 255) by signed weights,
and adds each pair up in sixteen bits, which saturate (instruction VPMADDUBSW; oneDNN's guide to int8 computations says
so too). CTranslate2 scales each row of a weight to 127, where two neighbours of one sign overflow. Here a row's scale is
the largest at which no pair of neighbours can: 255 * (a + b) <= 32,767 if a + b <= 128.
"""

from __future__ import annotations

from typing import Any

_LARGEST = 127.0
_LARGEST_PAIR = 127.0  # 128 less what rounding both of a pair can add


def quantize(spec: Any) -> None:
    """Optimize a converter's specification at int8 as the library does, but with such scales. Changes it in place."""
    import numpy as np
    from ctranslate2.specs.model_spec import NumpyVariable, index_spec

    made = {
        name: rows(value.to("float32").numpy()) for name, value in spec.variables().items() if _is_product(spec, name)
    }
    spec.optimize(quantization="int8")
    for name, (weight, scale) in made.items():
        scope, _, attribute = name.rpartition("/")
        part = index_spec(spec, scope)
        stored = getattr(part, attribute)
        if isinstance(stored, str):  # the name of another one that is equal
            continue
        assert stored.dtype == "int8" and stored.shape == list(weight.shape) or stored.shape == weight.shape
        setattr(part, attribute, NumpyVariable(weight))
        setattr(part, f"{attribute}_scale", NumpyVariable(scale.astype(np.float32)))


def _is_product(spec: Any, name: str) -> bool:
    """Whether it is the weight [outputs, inputs] of a product that is quantized."""
    from ctranslate2.specs.model_spec import index_spec

    scope, _, attribute = name.rpartition("/")
    part = index_spec(spec, scope)
    value = getattr(part, attribute)
    return hasattr(part, f"{attribute}_scale") and attribute == "weight" and len(value.shape) == 2


def rows(weight: Any) -> tuple[Any, Any]:
    """(8-bit numbers [outputs, inputs], scale [outputs] by which they are to be divided) of a weight in fp32."""
    import numpy as np

    largest = np.abs(weight).max(axis=1)
    pairs = np.pad(weight, ((0, 0), (0, weight.shape[1] % 2))).reshape(len(weight), -1, 2)
    positive, negative = np.maximum(pairs, 0).sum(-1).max(1), np.maximum(-pairs, 0).sum(-1).max(1)
    limit = np.maximum(largest / _LARGEST, np.maximum(positive, negative) / _LARGEST_PAIR)
    limit = np.maximum(limit, np.float32(1) / np.finfo(np.float32).max)
    limit[largest == 0] = 1.0
    scale = (1 / limit).astype(np.float32)
    return np.rint(weight * scale[:, None]).astype(np.int8), scale
