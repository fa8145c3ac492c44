"""Finds in a normalised graph which channels are written in one place and read by products alone.

What writes may be a norm's weight, a product behind which nothing but a factor stands (up -> down), or the values of an
attention (v -> o). Only what the graph proves is a pair; all else is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lukewarm.convert.to_ort.passes import constant, flag, only_user, operators

# operator -> places of its weight and bias
_NORMS = {
    "LayerNormalization": (1, 2),
    "SimplifiedLayerNormalization": (1,),
    "RMSNormalization": (1,),
    "SkipLayerNormalization": (2, 3),
    "SkipSimplifiedLayerNormalization": (2,),
}
_HARMLESS = {"Shape", "Size"}  # what they say of a value is not of its numbers


@dataclass(frozen=True)
class Written:
    """Channels of a constant input: along an axis, from a place on."""

    node: Any
    place: int
    axis: int = 0
    start: int = 0


@dataclass(frozen=True)
class Pair:
    """`seen` is what the readers read, as the first of them has it."""

    seen: Any
    readers: tuple[Any, ...]
    written: tuple[Written, ...]
    heads: tuple[int, int] | None = None  # (number, size) of the heads written, where several heads read each


def find(model: Any) -> list[Pair]:
    """All pairs, in the graph's order."""
    sources: dict[int, Any] = {}
    for node in operators(model, "MatMul", "Gemm"):
        if is_product(node):
            source = _through_reshapes(node.inputs[0])
            sources.setdefault(id(source), source)
    return [pair for source in sources.values() if (pair := _pair(source)) is not None]


def input_axis(node: Any) -> int:
    """Along which axis of a product's weight its inputs lie."""
    return 1 if node.op_type == "Gemm" and flag(node, "transB") else 0


def is_product(node: Any) -> bool:
    """Whether a constant weight that nothing else reads multiplies what comes in, unscaled and as it stands."""
    if node.op_type not in ("MatMul", "Gemm"):
        return False
    weight = constant(node.inputs[1])
    if weight is None or len(weight.shape) != 2 or len(list(node.inputs[1].uses())) != 1:
        return False
    if node.inputs[1].producer() is not None or node.inputs[0] is None:
        return False
    plain = all(node.attributes.get_float(name, 1.0) == 1.0 for name in ("alpha", "beta"))
    return node.op_type == "MatMul" or (plain and not flag(node, "transA"))


def _sizes(node: Any) -> tuple[int, int]:
    """Inputs and outputs of a product."""
    shape = [int(size) for size in constant(node.inputs[1]).shape]
    axis = input_axis(node)
    return shape[axis], shape[1 - axis]


def _through_reshapes(value: Any) -> Any:
    while (node := value.producer()) is not None and node.op_type == "Reshape":
        value = node.inputs[0]
    return value


def _readers(value: Any) -> Iterator[Any]:
    """The products that read a value; None for any other reader."""
    if value.is_graph_output():
        yield None
    for use in value.uses():
        if use.node.op_type == "Reshape" and use.idx == 0:
            yield from _readers(use.node.outputs[0])
        elif use.node.op_type not in _HARMLESS:
            yield use.node if use.idx == 0 and is_product(use.node) else None


def _pair(source: Any) -> Pair | None:
    readers: list[Any] = list(_readers(source))
    node = source.producer()
    if node is None or None in readers or len({_sizes(reader)[0] for reader in readers}) != 1:
        return None
    width = _sizes(readers[0])[0]
    heads = None
    if node.op_type == "GroupQueryAttention":
        written, heads = _values(node, source, width)
    elif node.op_type in _NORMS:
        written = _norm(node, source, width)
    else:
        written = _linear(source, width)
    return Pair(readers[0].inputs[0], tuple(readers), tuple(written), heads) if written else None


def _norm(node: Any, source: Any, width: int) -> list[Written]:
    if source is not node.outputs[0]:
        return []
    places = [place for place in _NORMS[node.op_type] if place < len(node.inputs) and node.inputs[place] is not None]
    if not places or any(not _is_vector(node.inputs[place], width) for place in places):
        return []
    return [Written(node, place) for place in places]


def _only_for(value: Any, node: Any) -> bool:
    """Whether nothing else reads a value."""
    return only_user(value) is node


def _is_vector(value: Any, width: int) -> bool:
    tensor = constant(value)
    return tensor is not None and value.producer() is None and tuple(tensor.shape) == (width,)


def _linear(value: Any, width: int, start: int = 0, whole: int | None = None) -> list[Written]:
    """Where to divide so that these channels of a value are divided; nothing where there is no such place.

    `start` and `whole`: the channels are a part of so many.
    """
    node: Any = value.producer()
    whole = whole or width
    if node is None:
        return []
    if is_product(node):
        axis = 1 - input_axis(node)
        bias = [Written(node, 2, 0, start)] if node.op_type == "Gemm" and len(node.inputs) > 2 else []
        fits = all(_is_vector(node.inputs[at.place], whole) for at in bias) and _sizes(node)[1] == whole
        return [Written(node, 1, axis, start), *bias] if fits else []
    if node.op_type in ("Reshape", "Relu"):
        before = node.inputs[0]
        return _linear(before, width, start, whole) if _only_for(before, node) else []
    if node.op_type == "Split":
        return _split(node, value, width)
    if node.op_type not in ("Mul", "Add") or node.inputs[0] is node.inputs[1]:
        return []
    fixed = next((place for place in (0, 1) if _is_vector(node.inputs[place], whole)), None)
    if fixed is not None and node.op_type == "Mul":
        return [Written(node, fixed, 0, start)]
    if fixed is not None:
        before = node.inputs[1 - fixed]
        found = _linear(before, width, start, whole) if _only_for(before, node) else []
        return [Written(node, fixed, 0, start), *found] if found else []
    if node.op_type == "Add":
        return []
    ways = (_linear(part, width, start, whole) for part in node.inputs if _only_for(part, node))
    return next((places for places in ways if places), [])


def _split(node: Any, value: Any, width: int) -> list[Written]:
    """A part of a product's channels."""
    place = next(place for place, output in enumerate(node.outputs) if output is value)
    sizes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    before = node.inputs[0]
    rank = len(before.shape) if before.shape is not None else 0
    if node.attributes.get_int("axis", 0) not in (-1, rank - 1) or not _only_for(before, node):
        return []
    parts = [int(size) for size in sizes.numpy()] if sizes is not None else [width] * len(node.outputs)
    if parts[place] != width:
        return []
    return _linear(before, width, sum(parts[:place]), sum(parts))


def _values(node: Any, source: Any, width: int) -> tuple[list[Written], tuple[int, int] | None]:
    """The value heads of an attention, in a product of their own or at the end of a packed one."""
    heads, shared = (node.attributes.get_int(name, 0) for name in ("num_heads", "kv_num_heads"))
    past, kept = node.inputs[4], node.outputs[2]
    alone = past is not None and past.is_graph_input() and len(list(past.uses())) == 1 and not list(kept.uses())
    if source is not node.outputs[0] or not alone or not heads or not shared or width % heads:
        return [], None
    size = width // heads
    packed = node.inputs[1] is None
    value = node.inputs[0] if packed else node.inputs[2]
    if value is None or not _only_for(value, node):
        return [], None
    if packed:
        written = _linear(value, shared * size, (heads + shared) * size, (heads + 2 * shared) * size)
    else:
        written = _linear(value, shared * size)
    return written, (shared, size)
