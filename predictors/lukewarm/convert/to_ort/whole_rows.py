"""Products in whole rows: 8-bit weights with one scale per output, activations with one per token (`dynamic-int8`).

Faster than blocks where many tokens are computed at once, and coarser: only products that lose little are taken, the
others stay in blocks. Weights are signed, for which kernels are fastest, and scaled so that they overflow on no CPU
(`int8_rows`). Scales of activations are per token: what stands beside a row in a batch changes nothing in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lukewarm.convert import int8_rows, smoothing
from lukewarm.convert.to_ort.observe import observe
from lukewarm.convert.to_ort.pairs import is_product
from lukewarm.convert.to_ort.passes import MICROSOFT, initializer, operators
from lukewarm.convert.to_ort.quantize import SMALL
from lukewarm.convert.to_ort.smooth import by_output

ZERO_POINT = 128
# of a product's output, the share that rounding may lose (mean over tokens of squared error by square)
_MOST_LOST = 2.5e-4


def choose(
    model: Any, head: Any, rows: Sequence[Sequence[int]], layers: Sequence[Sequence[int]], folder: Path
) -> list[Any]:
    """The products of an onnx_ir model in fp32 that lose little; never the output layer. `folder`: see `observe`."""
    taken = [node for node in products(model) if node is not head]
    values = list({node.inputs[0].name: node.inputs[0] for node in taken}.values())
    found = observe(model, values, rows, layers, folder) if values else []
    seen = {value.name: array for value, array in zip(values, found, strict=False)}
    return [node for node in taken if node.inputs[0].name in seen and _fits(node, seen[node.inputs[0].name])]


def products(model: Any) -> list[Any]:
    """All that are worth it."""
    found = (node for node in operators(model, "MatMul", "Gemm") if is_product(node))
    return [node for node in found if node.inputs[1].const_value.size >= SMALL]


def _fits(node: Any, inputs: Any) -> bool:
    tried = smoothing.some_rows(by_output(node))
    return smoothing.error(inputs, tried, inputs @ tried.T, int8_rows.ROUNDING) <= _MOST_LOST


def quantize(model: Any, chosen: Sequence[Any]) -> None:
    """Replace these products in place; those that read one value share its rounding."""
    rounded: dict[int, tuple[Any, Any]] = {}
    for node in chosen:
        source = node.inputs[0]
        if id(source) not in rounded:
            rounded[id(source)] = _round(model, node)
        _replace(model, node, *rounded[id(source)])


def _round(model: Any, node: Any) -> tuple[Any, Any]:
    """Before the node: its input in unsigned 8 bits, and the largest of each token. A token of zeros stays zeros."""
    import onnx_ir as ir

    axes, step, zero = _constant(model, "axes"), _constant(model, "step"), _constant(model, "zero")
    size = ir.Node("", "Abs", [node.inputs[0]])
    largest = ir.Node("", "ReduceMax", [size.outputs[0], axes], [ir.AttrInt64("keepdims", 1)])
    share = ir.Node("", "Div", [node.inputs[0], largest.outputs[0]])
    codes = ir.Node("", "QuantizeLinear", [share.outputs[0], step, zero])
    model.graph.insert_before(node, [size, largest, share, codes])
    return codes.outputs[0], largest.outputs[0]


def _constant(model: Any, name: str) -> Any:
    """One of the numbers that all products share."""
    import numpy as np

    known = {"axes": np.array([-1], np.int64), "step": np.float32(1 / 127), "zero": np.uint8(ZERO_POINT)}
    full = f"lukewarm.rows.{name}"
    return model.graph.initializers.get(full) or initializer(model, full, known[name])


def _replace(model: Any, node: Any, codes: Any, largest: Any) -> None:
    import numpy as np
    import onnx_ir as ir

    value = node.inputs[1]
    weight, scales = int8_rows.rows(by_output(node))
    inputs = [
        codes,
        initializer(model, f"{value.name}.rows", np.ascontiguousarray(weight.T)),
        _constant(model, "step"),
        initializer(model, f"{value.name}.row_scale", 1 / scales),
        _constant(model, "zero"),
    ]
    product = ir.Node(MICROSOFT, "MatMulIntegerToFloat", inputs, name=node.name)
    made = [product, ir.Node("", "Mul", [product.outputs[0], largest])]
    if len(node.inputs) > 2 and node.inputs[2] is not None:  # a Gemm's bias, which is not a token's to scale
        made.append(ir.Node("", "Add", [made[-1].outputs[0], node.inputs[2]]))
    made[-1].outputs[0].name = node.outputs[0].name
    ir.convenience.replace_nodes_and_values(model.graph, node, [node], made, node.outputs, made[-1].outputs)
