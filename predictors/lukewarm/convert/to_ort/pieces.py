"""Runs a graph in fp32 piece by piece over sample rows, so that weights can change between two pieces.

What lies before a piece is not run again: its values are kept as long as a later node reads them. Large weights are
inputs of a piece, mapped where they lie, and not copies in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lukewarm.predictors.errors import UnsupportedError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_ROWS_AT_ONCE = 8  # attention scores of this many rows are held at once
_INLINE_VALUES = 1024  # smaller constants (shapes above all) stay constants
_IR_VERSION = 10


class Pieces:
    """A decoder graph between two of its nodes. `values` by name: one array per part of the rows."""

    def __init__(self, model: Any, rows: Array, layers: Sequence[Sequence[int]]) -> None:
        """`rows` int64 [rows, length]; `layers`: key/value heads and head size of each."""
        self.nodes = list(model.graph)
        if any(node.attributes and _has_graphs(node) for node in self.nodes):
            raise UnsupportedError("the graph has branches or loops")
        self.replaced: dict[str, Array] = {}  # weights that are no longer the graph's own
        self._model = model
        self._layers = layers
        self._parts = [rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE)]
        self._values: list[dict[str, Array]] = [{} for _ in self._parts]
        self._place = 0
        self._last_use = {
            value.name: place for place, node in enumerate(self.nodes) for value in node.inputs if value is not None
        }

    def run_to(self, place: int) -> None:
        """Run the nodes before `place` that have not run yet."""
        piece = self.nodes[self._place : place]
        self._place = place
        if not piece:
            return
        made = {value.name for node in piece for value in node.outputs}
        read = {value.name: value for node in piece for value in node.inputs if value is not None and value.name}
        given = {name: value for name, value in read.items() if name not in made}
        wanted = sorted(name for name in made if name and self._last_use.get(name, -1) >= place)
        constants = {name: value.const_value for name, value in given.items() if self._is_small(value)}
        weights = {name: self._weight(value) for name, value in given.items() if self._is_weight(value)}
        inputs = [name for name in given if name not in constants]
        session = None
        for part, values in zip(self._parts, self._values, strict=True):
            feeds = {name: weights[name] if name in weights else self._feed(name, part, values) for name in inputs}
            if session is None:
                session = self._session(piece, feeds, constants, wanted)
            values.update(zip(wanted, session.run(wanted, feeds), strict=True))
            for name in [name for name in values if self._last_use.get(name, -1) < place]:
                del values[name]

    def flat(self, name: str) -> list[Array]:
        """A value that is there now, as [tokens, width] per part."""
        return [values[name].reshape(-1, values[name].shape[-1]) for values in self._values]

    def _is_small(self, value: Any) -> bool:
        tensor = value.const_value
        return tensor is not None and value.producer() is None and tensor.size < _INLINE_VALUES

    def _is_weight(self, value: Any) -> bool:
        return value.const_value is not None and value.producer() is None and not self._is_small(value)

    def _weight(self, value: Any) -> Array:
        found = self.replaced.get(value.name)
        array: Array = value.const_value.numpy() if found is None else found
        return array

    def _feed(self, name: str, part: Array, values: dict[str, Array]) -> Array:
        """A value of an earlier piece, or an input of the graph for these rows."""
        import numpy as np

        if name in values:
            return values[name]
        count, length = part.shape
        if name.startswith("past_key_values."):
            heads, size = self._layers[int(name.split(".")[1])]
            return np.zeros((count, heads, length, size), np.float32)
        found: dict[str, Array] = {
            "input_ids": part,
            "position_ids": np.broadcast_to(np.arange(length), part.shape).copy(),
            "seqlens_k": np.full(count, length - 1, np.int32),
            "total_len": np.array(length, np.int32),
            "last": np.arange(count * length),
        }
        if name not in found:
            raise UnsupportedError(f"the graph has an input {name!r}")
        return found[name]

    def _session(self, piece: Sequence[Any], feeds: Any, constants: Any, wanted: Sequence[str]) -> Any:
        import onnx
        import onnx_ir as ir

        from lukewarm.predictors.ort.session import library

        infos = [
            onnx.helper.make_tensor_value_info(
                name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim
            )
            for name, array in feeds.items()
        ]
        graph = onnx.helper.make_graph(
            [ir.serde.serialize_node(node) for node in piece],
            "piece",
            infos,
            [onnx.ValueInfoProto(name=name) for name in wanted],
            [onnx.numpy_helper.from_array(tensor.numpy(), name) for name, tensor in constants.items()],
        )
        opsets = [onnx.helper.make_opsetid(name, version) for name, version in self._model.opset_imports.items()]
        model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        ort = library()
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _has_graphs(node: Any) -> bool:
    import onnx_ir as ir

    kinds = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    return any(attribute.type in kinds for attribute in node.attributes.values())
