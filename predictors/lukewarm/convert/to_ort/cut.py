"""Cuts a finished decoder graph in two of about equal weight: at every start two threads pack it instead of one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

_WORTH_BYTES = 32 << 20  # less is packed sooner than a second session is worth
_CROSSING = 2  # values from one half to the other: the hidden state, and where norms are fused, the residual
_PACKED = ("MatMulNBits", "MatMulIntegerToFloat")
_HEAVIEST = 0.75  # of all; an output layer alone may be more than half


def cut(model: Any) -> list[Any]:
    """Both halves of an onnx_ir model, sorted before; or the model itself where there is little to pack or no place."""
    import onnx_ir as ir

    nodes = list(model.graph)
    branches = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    if any(attribute.type in branches for node in nodes for attribute in node.attributes.values()):
        return [model]  # a branch reads values that are not among its node's inputs
    place = _place(nodes)
    if place is None:
        return [model]
    crossing = _crossing(nodes, place)
    return [
        _part(model, nodes[:place], [], crossing),
        _part(model, nodes[place:], crossing, []),
    ]


def _place(nodes: Sequence[Any]) -> int | None:
    """How many nodes come before the cut whose heavier half is lightest; of equals, that with least to hand over."""
    upto = list(itertools.accumulate((_packed_bytes(node) for node in nodes), initial=0))
    total = upto[-1]
    if total < _WORTH_BYTES:
        return None

    def heavier(place: int) -> int:
        return max(upto[place], total - upto[place])

    for weight, equals in itertools.groupby(sorted(range(1, len(nodes)), key=heavier), heavier):
        if weight > _HEAVIEST * total:
            return None
        crossings = {place: _crossing(nodes, place) for place in equals}
        fit = [place for place, values in crossings.items() if len(values) <= _CROSSING and all(map(_is_float, values))]
        if fit:
            return min(fit, key=lambda place: (len(crossings[place]), place))
    return None


def _packed_bytes(node: Any) -> int:
    """What a session copies into another order for its kernels."""
    return int(node.inputs[1].const_value.nbytes) if node.op_type in _PACKED else 0


def _crossing(nodes: Sequence[Any], place: int) -> list[Any]:
    """Values that nodes before the place make and nodes after it read."""
    before = {id(value) for node in nodes[:place] for value in node.outputs}
    read = (value for node in nodes[place:] for value in node.inputs if value is not None)
    return list({value.name: value for value in read if id(value) in before}.values())


def _is_float(value: Any) -> bool:
    import onnx_ir as ir

    return value.dtype is ir.DataType.FLOAT


def _part(model: Any, nodes: Sequence[Any], taken: Sequence[Any], left: Sequence[Any]) -> Any:
    import onnx_ir as ir

    graph = model.graph
    read = {value.name for node in nodes for value in node.inputs if value is not None}
    made = {value.name for node in nodes for value in node.outputs}
    inputs = [*taken, *(value for value in graph.inputs if value.name in read)]
    outputs = [*(value for value in graph.outputs if value.name in made), *left]
    part = ir.Model(ir.convenience.extract(graph, inputs, outputs), ir_version=model.ir_version)
    for value in (*part.graph.inputs[: len(taken)], *part.graph.outputs[len(outputs) - len(left) :]):
        value.shape = None  # what a pass noted of a value inside is a hint; of an input it would be a demand
    return part
