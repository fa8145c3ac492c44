"""Moves outliers of activations into weights in a normalised fp32 graph, before its weights are quantized.

The graph itself is run once on the calibration text, with what its products read as further outputs. No node is added.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lukewarm.convert import smoothing
from lukewarm.convert.to_ort.pairs import Pair, Written, find, input_axis
from lukewarm.convert.to_ort.passes import constant, initializer
from lukewarm.convert.to_ort.quantize import WIDE_BLOCK


def smooth(model: Any, rows: Sequence[Sequence[int]], layers: Sequence[Sequence[int]], folder: Path) -> list[Pair]:
    """Change an onnx_ir model in place; the pairs that were changed. `folder` is for a copy meanwhile.

    None are where the graph does not run, or not to numbers.
    """
    pairs = find(model)
    if not pairs:
        return []
    seen = _run(model, pairs, rows, layers, folder)
    return [pair for pair in pairs if _apply(model, pair, seen.pop(0))] if seen else []


def _run(model: Any, pairs: list[Pair], rows: Sequence[Sequence[int]], layers: Any, folder: Path) -> list[Any]:
    """What each pair's readers read [tokens, channels], of some tokens of every row."""
    import numpy as np
    import onnx_ir as ir
    import onnxruntime

    path = folder / "seen.onnx"
    before = len(model.graph.outputs)
    names = [pair.seen.name for pair in pairs]
    outputs = {value.name: value for value in (pair.seen for pair in pairs)}
    model.graph.outputs.extend(outputs.values())
    try:
        ir.save(model, path, external_data=f"{path.name}.data")
    finally:
        del model.graph.outputs[before:]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    step = smoothing.stride(sum(map(len, rows)))
    found: list[list[Any]] = [[] for _ in pairs]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for row in rows:
            read = session.run(names, _inputs(session, row, layers))
            for kept, values in zip(found, read, strict=True):
                kept.append(values.reshape(-1, values.shape[-1])[::step].copy())
    except Exception:  # noqa: BLE001 - the runtime raises classes of its own; the graph's trial will say it better
        return []
    finally:
        for file in (path, path.with_name(f"{path.name}.data")):
            file.unlink(missing_ok=True)
    together = [np.concatenate(kept) for kept in found]
    return together if all(np.isfinite(values).all() for values in together) else []


def _inputs(session: Any, row: Sequence[int], layers: Sequence[Sequence[int]]) -> dict[str, Any]:
    """One row from the beginning, with buffers of its length; logits of one position."""
    import numpy as np

    length = len(row)
    inputs = {
        "input_ids": np.array([row], np.int64),
        "position_ids": np.arange(length, dtype=np.int64)[None],
        "seqlens_k": np.array([length - 1], np.int32),
        "total_len": np.array(length, np.int32),
        "last": np.array([length - 1], np.int64),
    }
    for layer, (heads, size) in enumerate(layers):
        for part in ("key", "value"):
            inputs[f"past_key_values.{layer}.{part}"] = np.zeros((1, heads, length, size), np.float32)
    return {value.name: inputs[value.name] for value in session.get_inputs()}


def _apply(model: Any, pair: Pair, inputs: Any) -> bool:
    import numpy as np

    weight = np.concatenate([_by_output(reader) for reader in pair.readers])
    chosen = smoothing.choose(inputs, weight, ROUNDING, pair.heads)
    if chosen is None:
        return False
    small, wide = chosen
    for written in pair.written:
        _multiply(model, written, 1 / small)
    for reader in pair.readers:
        _multiply(model, Written(reader, 1, input_axis(reader)), wide)
    return True


def _by_output(reader: Any) -> Any:
    """A product's weight [outputs, inputs]."""
    weight = constant(reader.inputs[1]).numpy()
    return weight if input_axis(reader) == 1 else weight.T


def _multiply(model: Any, written: Written, scale: Any) -> None:
    """Others that read the constant keep it: a new one takes its place here."""
    import numpy as np

    array = np.array(constant(written.node.inputs[written.place]).numpy())
    part = np.moveaxis(array, written.axis, -1)[..., written.start : written.start + len(scale)]
    part *= scale
    old = written.node.inputs[written.place]
    names = (f"{old.name}.smooth.{count}" for count in itertools.count())
    name = next(name for name in names if name not in model.graph.initializers)
    written.node.replace_input_with(written.place, initializer(model, name, array))
    if not list(old.uses()):
        del model.graph.initializers[old.name]


def _in_blocks(rows: Any) -> Any:
    """Rows at 8 bits, in blocks as the runtime rounds activations and `quantize` weights."""
    import numpy as np

    count, width = rows.shape
    parts = np.pad(rows, ((0, 0), (0, -width % WIDE_BLOCK))).reshape(count, -1, WIDE_BLOCK)
    step = np.abs(parts).max(-1, keepdims=True) / 127
    step[step == 0] = 1
    return (np.rint(parts / step) * step).reshape(count, -1)[:, :width]


ROUNDING = smoothing.Rounding(inputs=_in_blocks, weights=_in_blocks)
