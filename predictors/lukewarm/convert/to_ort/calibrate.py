"""Calibrated 4-bit weights of a decoder graph: each is rounded for the inputs that the model's own text gives it.

Inputs are read off the graph itself, behind the weights already rounded: no architecture needs names of its own.
Not used by the converter yet: measured on four layers only, and too slow for a whole model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lukewarm.convert.to_ort import gptq
from lukewarm.convert.to_ort.pieces import Pieces
from lukewarm.convert.to_ort.quantize import BLOCK, is_plain, packed, rows_and_width

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

ROWS, LENGTH = 32, 128
Report = Callable[[float], None]  # fraction done


def four_bit(
    model: Any, rows: Array, layers: Sequence[Sequence[int]], bits_of: Callable[[Any], int], report: Report
) -> dict[str, tuple[Array, Array]]:
    """Packed codes and scales by the weight's name, for every product at 4 bits whose width is in whole blocks.

    Raises UnsupportedError for a graph that cannot be run in pieces. A weight that no sample reaches is left out.
    """
    import numpy as np

    pieces = Pieces(model, rows, layers)
    found: dict[str, tuple[Array, Array]] = {}
    groups: dict[str, list[tuple[int, Any]]] = {}
    for place, node in enumerate(pieces.nodes):
        if is_plain(node) and bits_of(node) == 4 and rows_and_width(node)[1] % BLOCK == 0:
            groups.setdefault(node.inputs[0].name, []).append((place, node))
    for done, (name, group) in enumerate(groups.items()):
        report(done / len(groups))
        pieces.run_to(group[0][0])
        gram = sum((part.T @ part for part in pieces.flat(name)), np.zeros((), np.float32))
        for _, node in group:
            turned = node.op_type == "Gemm" and node.attributes.get_int("transB", 0) != 0
            stored = node.inputs[1].const_value.numpy()
            weight = np.ascontiguousarray(stored.T if turned else stored)
            try:
                codes, scales = gptq.solve(weight, gram, BLOCK)
            except np.linalg.LinAlgError:
                continue
            rounded = codes * np.repeat(scales, BLOCK, axis=0)
            pieces.replaced[node.inputs[1].name] = np.ascontiguousarray(rounded.T if turned else rounded)
            found[node.inputs[1].name] = packed(codes, scales)
    return found


def graph_and_rows(
    model: Any, folder: Path, layers: Sequence[Sequence[int]], first: Sequence[int], context: int | None
) -> Array:
    """Save the fp32 graph into `folder`, from where its weights are mapped then, and let it write the sample rows."""
    from lukewarm.convert.to_ort import samples, trial
    from lukewarm.convert.to_ort.save import GRAPH, save

    save(model, folder)
    trial.run(folder, layers)
    length = min(LENGTH, context or LENGTH)
    return samples.draw(folder / GRAPH, layers, first, (ROWS, length))
