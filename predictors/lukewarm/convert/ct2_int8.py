"""8-bit weights for CTranslate2 whose products overflow on no processor, where its own converter's do."""

from __future__ import annotations

from typing import Any

from lukewarm.convert.int8_rows import rows


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
