"""Moves outliers of activations into weights in a normalised fp32 graph, before its weights are quantized.

The graph itself is run once on the calibration text, with what its products read as further outputs. No node is added.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lukewarm.convert import smoothing
from lukewarm.convert.to_ort.observe import observe
from lukewarm.convert.to_ort.pairs import Pair, Written, find, input_axis
from lukewarm.convert.to_ort.passes import constant, initializer
from lukewarm.convert.to_ort.quantize import WIDE_BLOCK


def smooth(
    model: Any,
    rows: Sequence[Sequence[int]],
    layers: Sequence[Sequence[int]],
    folder: Path,
    rounding: smoothing.Rounding,
) -> list[Pair]:
    """Change an onnx_ir model in place; the pairs that were changed. `folder` is for a copy meanwhile.

    None are where the graph does not run, or not to numbers.
    """
    pairs = find(model)
    seen = observe(model, [pair.seen for pair in pairs], rows, layers, folder) if pairs else []
    return [pair for pair in pairs if _apply(model, pair, seen.pop(0), rounding)] if seen else []


def _apply(model: Any, pair: Pair, inputs: Any, rounding: smoothing.Rounding) -> bool:
    import numpy as np

    weight = np.concatenate([by_output(reader) for reader in pair.readers])
    chosen = smoothing.choose(inputs, weight, rounding, pair.heads)
    if chosen is None:
        return False
    small, wide = chosen
    for written in pair.written:
        _multiply(model, written, 1 / small)
    for reader in pair.readers:
        _multiply(model, Written(reader, 1, input_axis(reader)), wide)
    return True


def by_output(reader: Any) -> Any:
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


BLOCKS = smoothing.Rounding(inputs=_in_blocks, weights=_in_blocks)
