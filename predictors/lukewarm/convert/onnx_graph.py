"""ONNX tooling for encoder and encoder-decoder graphs: export, optimise once, tie, quantize, store shared weights once."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

WEIGHTS = "weights.bin"
MICROSOFT = "com.microsoft"
BLOCK = 32
_INLINE_BYTES = 1024  # smaller tensors stay in the graph file
_PAGE = 4096  # the runtime maps external data only at page boundaries


def export(module: Any, arguments: tuple[Any, ...], path: Path, names: Sequence[Sequence[str]], shapes: Any) -> None:
    """Export a torch module by torch.onnx's graph capture. `names` are those of inputs and of outputs."""
    import torch

    with _quiet():
        torch.onnx.export(
            module, arguments, str(path), input_names=list(names[0]), output_names=list(names[1]), dynamo=True,
            dynamic_shapes=shapes, external_data=True, verbose=False, optimize=True,
        )  # fmt: skip


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns and prints about packages that we do not use."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def optimise(path: Path) -> Any:
    """Run ONNX Runtime's graph optimisations on a file once and return the model, so that none run at start.

    Level "extended": what it fuses runs on every CPU, unlike the layouts of level "all".
    """
    import onnx
    import onnxruntime

    out = path.with_suffix(".opt.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(out)
    options.log_severity_level = 3
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", out.name + ".data")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return onnx.load(str(out))


def tie_outputs(model: Any, tables: Mapping[str, str]) -> None:
    """Let the output layer read the embedding table itself: MatMul over its transposed copy becomes FusedMatMul.

    `tables` maps a digest of a [vocabulary, width] table to the name that the table shall have in every graph.
    """
    for node in model.graph.node:
        if node.op_type != "MatMul":
            continue
        weight = initializer(model, node.input[1])
        if weight is None:
            continue
        array = to_array(weight)
        if array.ndim == 2 and (name := tables.get(digest(np.ascontiguousarray(array.T)))):
            model.graph.initializer.remove(weight)
            if initializer(model, name) is None:
                model.graph.initializer.append(from_array(np.ascontiguousarray(array.T), name))
            node.input[1] = name
            node.op_type, node.domain = "FusedMatMul", MICROSOFT
            node.attribute.append(_attribute("transB", 1))
    _import_domain(model)


def quantize_weights(model: Any, bits: int) -> Any:
    """Weight-only blocks of 32 by ONNX Runtime's own quantizer; activations stay fp32. Returns the new model.

    Tables of embeddings become GatherBlockQuantized; where the output layer has the same bytes they are stored once.
    """
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    logger = logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        quantizer = MatMulNBitsQuantizer(
            model, bits=bits, block_size=BLOCK, is_symmetric=True, accuracy_level=4, op_types_to_quantize=("MatMul",)
        )
        quantizer.process()
    finally:
        logger.setLevel(level)
    made = quantizer.model.model
    for node in list(made.graph.node):
        if node.op_type == "Gather":
            _quantize_table(made, node, bits)
    _import_domain(made)
    drop_unused(made)
    return made


def _quantize_table(model: Any, node: Any, bits: int) -> None:
    """A Gather over a large table of floats -> GatherBlockQuantized over the same blocks as MatMulNBits has."""
    table = initializer(model, node.input[0])
    if table is None or bits != 8 or any(a.name == "axis" and a.i != 0 for a in node.attribute):
        return
    array = to_array(table)
    if array.dtype != np.float32 or array.ndim != 2 or array.shape[0] < 256 or array.shape[1] % BLOCK:
        return
    packed, scales = quantize_blocks(array)
    names = (f"{node.input[0]}_Q8", f"{node.input[0]}_scale")
    for name, value in zip(names, (packed, scales), strict=True):
        if initializer(model, name) is None:
            model.graph.initializer.append(from_array(value, name))
    node.op_type, node.domain = "GatherBlockQuantized", MICROSOFT
    node.input[:] = [names[0], node.input[1], names[1]]
    del node.attribute[:]
    values = {"bits": bits, "block_size": BLOCK, "gather_axis": 0, "quantize_axis": 1}
    node.attribute.extend(_attribute(key, value) for key, value in values.items())


def quantize_blocks(table: Any) -> tuple[Any, Any]:
    """float32 [rows, width] -> uint8 [rows, width] around 128 and scales float32 [rows, width / 32], as MatMulNBits."""
    rows, width = table.shape
    blocks = table.reshape(rows, width // BLOCK, BLOCK)
    low, high = blocks.min(-1, keepdims=True), blocks.max(-1, keepdims=True)
    largest = np.where(high > -low, high, low)  # as the library: of two equals the negative one
    scales = (largest / -128).astype(np.float32)
    inverse = np.divide(1.0, scales, out=np.zeros_like(scales), where=scales != 0)
    packed = np.clip(np.round(blocks * inverse) + 128, 0, 255).astype(np.uint8)
    return packed.reshape(rows, width), scales[..., 0]


def save_shared(models: Mapping[str, Any], directory: Path) -> None:
    """Write `<name>.onnx` files whose large tensors lie in one `weights.bin`; equal bytes are stored once."""
    directory.mkdir(parents=True, exist_ok=True)
    places: dict[str, tuple[int, int]] = {}
    with (directory / WEIGHTS).open("wb") as stream:
        for model in models.values():
            drop_unused(model)
            for tensor in model.graph.initializer:
                data = np.ascontiguousarray(to_array(tensor)).tobytes()
                if len(data) < _INLINE_BYTES:
                    continue
                key = hashlib.sha256(data).hexdigest()
                if key not in places:
                    stream.seek(-(-stream.tell() // _PAGE) * _PAGE)
                    places[key] = (stream.tell(), len(data))
                    stream.write(data)
                _point(tensor, *places[key])
    for name, model in models.items():
        (directory / f"{name}.onnx").write_bytes(model.SerializeToString())


def _point(tensor: Any, offset: int, length: int) -> None:
    from onnx import TensorProto

    for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "external_data"):
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", WEIGHTS), ("offset", str(offset)), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def drop_unused(model: Any) -> None:
    """Remove initializers that no node reads."""
    used = {name for node in model.graph.node for name in node.input} | {output.name for output in model.graph.output}
    for tensor in [t for t in model.graph.initializer if t.name not in used]:
        model.graph.initializer.remove(tensor)


def tables_of(model: Any) -> dict[str, str]:
    """Embedding tables of a graph: digest -> name."""
    found = {}
    for node in model.graph.node:
        if node.op_type == "Gather" and (table := initializer(model, node.input[0])) is not None:
            array = to_array(table)
            if array.ndim == 2 and array.nbytes >= _INLINE_BYTES:
                found[digest(array)] = table.name
    return found


def initializer(model: Any, name: str) -> Any | None:
    return next((tensor for tensor in model.graph.initializer if tensor.name == name), None)


def digest(array: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def to_array(tensor: Any) -> Any:
    from onnx import numpy_helper

    return numpy_helper.to_array(tensor)


def from_array(array: Any, name: str) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(array, name)


def _attribute(key: str, value: int) -> Any:
    from onnx import helper

    return helper.make_attribute(key, value)


def _import_domain(model: Any) -> None:
    from onnx import helper

    if not any(entry.domain == MICROSOFT for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
