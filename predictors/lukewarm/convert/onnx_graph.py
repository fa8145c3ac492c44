"""ONNX tooling for encoder and encoder-decoder graphs: export, optimise once, tie or quantize, shared weights once."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lukewarm.convert.to_ort import whole_rows
from lukewarm.convert.to_ort.passes import MICROSOFT, constant, initializer, operators
from lukewarm.convert.to_ort.quantize import quantize
from lukewarm.predictors.errors import UnsupportedError

WEIGHTS = "weights.bin"
_INLINE_BYTES = 1024  # smaller tensors stay in the graph file
_PAGE = 4096  # the runtime maps external data only at page boundaries


def export(module: Any, arguments: tuple[Any, ...], path: Path, names: Sequence[Sequence[str]], shapes: Any) -> None:
    """Export a torch module by torch.onnx's graph capture. `names` are those of inputs and of outputs.

    Raises UnsupportedError with the exporter's reason.
    """
    import torch

    with _quiet():
        try:
            torch.onnx.export(
                module, arguments, str(path), input_names=list(names[0]), output_names=list(names[1]), dynamo=True,
                dynamic_shapes=shapes, external_data=True, verbose=False, optimize=True,
            )  # fmt: skip
        except Exception as error:  # the exporter wraps whatever the model's code raised
            kind = type(getattr(module, "model", module)).__name__
            raise UnsupportedError(
                f"torch.onnx cannot export {kind} ({type(error).__name__}); use backend hf, or ct2 where it has it"
            ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints advice for its own developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def optimise(path: Path) -> Any:
    """Run ONNX Runtime's graph optimisations on a file once, so that none run at start. Returns an onnx_ir model.

    Level "extended": what it fuses runs on every CPU, unlike the layouts of level "all".
    """
    import onnx_ir as ir
    import onnxruntime

    out = path.with_suffix(".opt.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(out)
    options.log_severity_level = 3
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", out.name + ".data")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return ir.load(out)


def write(graphs: Mapping[str, Any], precision: str, directory: Path) -> None:
    """Bring optimised graphs to a precision and save them as `<name>.onnx` beside one `weights.bin`."""
    if precision == "fp32":
        tables: dict[str, str] = {}
        for graph in graphs.values():
            tables |= _tables(graph)
        for graph in graphs.values():
            _tie(graph, tables)
    else:
        for graph in graphs.values():
            if precision == "dynamic-int8":
                whole_rows.quantize(graph, whole_rows.products(graph))
            quantize(graph, lambda _node: 8)  # what is left: lookups, and at int8 the products
    for graph in graphs.values():
        graph.opset_imports.setdefault(MICROSOFT, 1)
    save(graphs, directory)


def save(graphs: Mapping[str, Any], directory: Path) -> None:
    """Write graphs whose large tensors lie in one file at page boundaries; equal bytes are stored once."""
    import onnx_ir as ir

    directory.mkdir(parents=True, exist_ok=True)
    places: dict[str, int] = {}
    with (directory / WEIGHTS).open("wb") as stream:
        for graph in graphs.values():
            for value in _used_initializers(graph):
                tensor = value.const_value
                if tensor.nbytes < _INLINE_BYTES:
                    value.const_value = ir.Tensor(tensor.numpy().copy(), name=value.name)
                    continue
                data = tensor.tobytes()
                key = hashlib.sha256(data).hexdigest()
                if key not in places:
                    places[key] = stream.seek(-(-stream.tell() // _PAGE) * _PAGE)
                    stream.write(data)
                value.const_value = ir.ExternalTensor(
                    WEIGHTS, places[key], len(data), tensor.dtype, shape=tensor.shape, name=value.name,
                    base_dir=directory,
                )  # fmt: skip
    for name, graph in graphs.items():
        ir.save(graph, directory / f"{name}.onnx")


def _used_initializers(graph: Any) -> list[Any]:
    initializers = graph.graph.initializers
    outputs = {value.name for value in graph.graph.outputs}
    for name in [name for name, value in initializers.items() if not list(value.uses()) and name not in outputs]:
        initializers.pop(name)
    return list(initializers.values())


def _tables(graph: Any) -> dict[str, str]:
    """Embedding tables of a graph: digest of the bytes -> a name for all graphs."""
    found = {}
    for node in operators(graph, "Gather"):
        table = constant(node.inputs[0])
        if table is not None and len(table.shape) == 2 and table.nbytes >= _INLINE_BYTES:
            found[_digest(table.numpy())] = node.inputs[0].name
    return found


def _tie(graph: Any, tables: Mapping[str, str]) -> None:
    """Let the output layer read the embedding table itself: MatMul over its transposed copy becomes FusedMatMul."""
    import numpy as np
    import onnx_ir as ir

    for node in operators(graph, "MatMul"):
        weight = constant(node.inputs[1])
        if weight is None or len(weight.shape) != 2:
            continue
        table = np.ascontiguousarray(weight.numpy().T)
        if _digest(table) not in tables:
            continue
        shared = initializer(graph, f"{node.inputs[1].name}.tied", table)
        fused = ir.Node(MICROSOFT, "FusedMatMul", [node.inputs[0], shared], [ir.AttrInt64("transB", 1)])
        fused.outputs[0].name = node.outputs[0].name
        ir.convenience.replace_nodes_and_values(graph.graph, node, [node], [fused], node.outputs, fused.outputs)


def _digest(array: Any) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()
