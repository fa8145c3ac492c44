"""Runs an unfinished fp32 graph on calibration text, to see what stands between its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lukewarm.convert import smoothing


def observe(
    model: Any, values: Sequence[Any], rows: Sequence[Sequence[int]], layers: Sequence[Sequence[int]], folder: Path
) -> list[Any]:
    """These values [tokens, channels], of some tokens of every row. `folder` is for a copy of the graph meanwhile.

    An empty list where the graph does not run, or not to numbers.
    """
    import numpy as np
    import onnx_ir as ir
    import onnxruntime

    path = folder / "seen.onnx"
    before = len(model.graph.outputs)
    names = [value.name for value in values]
    model.graph.outputs.extend({value.name: value for value in values}.values())
    try:
        ir.save(model, path, external_data=f"{path.name}.data")
    finally:
        del model.graph.outputs[before:]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    step = smoothing.stride(sum(map(len, rows)))
    found: list[list[Any]] = [[] for _ in values]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for row in rows:
            read = session.run(names, inputs(session, row, layers))
            for kept, array in zip(found, read, strict=True):
                kept.append(array.reshape(-1, array.shape[-1])[::step].copy())
    except Exception:  # noqa: BLE001 - the runtime raises classes of its own; the graph's trial will say it better
        return []
    finally:
        for file in (path, path.with_name(f"{path.name}.data")):
            file.unlink(missing_ok=True)
    together = [np.concatenate(kept) for kept in found]
    return together if all(np.isfinite(array).all() for array in together) else []


def inputs(session: Any, row: Sequence[int], layers: Sequence[Sequence[int]]) -> dict[str, Any]:
    """One row from the beginning, with buffers of its length; logits of one position."""
    import numpy as np

    length = len(row)
    made = {
        "input_ids": np.array([row], np.int64),
        "position_ids": np.arange(length, dtype=np.int64)[None],
        "seqlens_k": np.array([length - 1], np.int32),
        "total_len": np.array(length, np.int32),
        "last": np.array([length - 1], np.int64),
    }
    for layer, (heads, size) in enumerate(layers):
        for part in ("key", "value"):
            made[f"past_key_values.{layer}.{part}"] = np.zeros((1, heads, length, size), np.float32)
    return {value.name: made[value.name] for value in session.get_inputs()}
