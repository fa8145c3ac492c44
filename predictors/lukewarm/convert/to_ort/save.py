"""Writes a graph, or its halves, and weights that can be mapped: one data file, page-aligned, equal bytes once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

GRAPH = "model.onnx"
DATA = "model.onnx.data"
_PAGE = 4096
_INLINE_BYTES = 1024  # shape constants and the like stay in the graph, where the runtime can fold them


def save(model: Any, folder: Path) -> list[str]:
    """Write the graph and model.onnx.data into `folder`, initializers in the order of their first use.

    The names of what runs one after another: model.onnx, or its halves.
    """
    import onnx_ir as ir

    from lukewarm.convert.to_ort.cut import cut

    folder.mkdir(parents=True, exist_ok=True)
    model.graph.sort()
    places: dict[tuple[str, int], tuple[int, int]] = {}
    with (folder / DATA).open("wb") as stream:
        for value in _in_order(model):
            tensor = value.const_value
            if tensor.nbytes < _INLINE_BYTES:
                # out of the raw graph's data file, which is going to disappear
                value.const_value = ir.Tensor(tensor.numpy().copy(), name=value.name)
                continue
            offset, length = _write(stream, tensor.tobytes(), places)
            value.const_value = ir.ExternalTensor(
                DATA, offset, length, tensor.dtype, shape=tensor.shape, name=value.name, base_dir=folder
            )
    parts = cut(model)
    names = [GRAPH] if len(parts) == 1 else [f"model-{number}.onnx" for number in range(1, len(parts) + 1)]
    for part, name in zip(parts, names, strict=True):
        ir.save(part, folder / name)
    return names


def _write(stream: Any, data: bytes, places: dict[tuple[str, int], tuple[int, int]]) -> tuple[int, int]:
    key = (hashlib.sha256(data).hexdigest(), len(data))
    if key not in places:
        offset = -(-stream.tell() // _PAGE) * _PAGE
        stream.seek(offset)
        stream.write(data)
        places[key] = (offset, len(data))
    return places[key]


def _in_order(model: Any) -> list[Any]:
    initializers = model.graph.initializers
    used: dict[str, Any] = {}
    for node in model.graph:
        for value in node.inputs:
            if value is not None and value.name in initializers:
                used.setdefault(value.name, value)
    for name in [name for name in initializers if name not in used]:
        initializers.pop(name)
    return list(used.values())
