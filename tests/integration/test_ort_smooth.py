"""Smoothing of activations in the decoder graph: the same logits in fp32, and no larger loss at 8 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.tiny_models import VOCAB_SIZE, tiny_model

ROWS = [[(7 * row + 3 * place * place) % VOCAB_SIZE for place in range(48)] for row in range(4)]
# pairs that each tiny model's graph proves, of two layers
PAIRS = {"llama": 8, "qwen2": 8, "gpt2": 5, "opt": 7}


def _graph(architecture: str, folder: Path) -> tuple[Any, Any]:
    import onnx_ir

    from lukewarm.convert.source import open_source
    from lukewarm.convert.to_ort import _routes, describe, passes

    source = open_source(str(tiny_model(architecture)), Path(), folder)
    _, build = next(iter(_routes(source)))
    model = onnx_ir.load(build(source, folder))
    passes.normalise(model)
    _with_outliers(model)
    return model, describe(model, source)["layers"]


def _with_outliers(model: Any) -> None:
    """What real models have and drawn ones have not: channels far above the others."""
    from lukewarm.convert.to_ort.pairs import _NORMS
    from lukewarm.convert.to_ort.passes import constant, initializer

    for number, node in enumerate(node for node in model.graph if node.op_type in _NORMS):
        place = _NORMS[node.op_type][0]
        weight = constant(node.inputs[place]).numpy().copy()
        weight[number + 3] *= 40
        node.replace_input_with(place, initializer(model, f"outlier.{number}", weight))


def _logits(model: Any, layers: Any, path: Path) -> Any:
    import numpy as np
    import onnx_ir
    import onnxruntime

    from lukewarm.convert.to_ort.observe import inputs

    onnx_ir.save(model, path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.stack(
        [session.run(["logits"], inputs(session, row, layers) | {"last": np.arange(len(row))})[0] for row in ROWS]
    )


def _nodes(model: Any) -> list[str]:
    return [node.op_type for node in model.graph]


@pytest.mark.models
@pytest.mark.parametrize("architecture", [*PAIRS])
def test_the_graph_is_the_same_in_fp32_and_loses_less_at_8_bits(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    from lukewarm.convert.to_ort import pairs, quantize, smooth

    monkeypatch.setattr(quantize, "SMALL", 1)  # products of the tiny model are smaller than what is worth it
    plain, layers = _graph(architecture, tmp_path)
    nodes, exact = _nodes(plain), _logits(plain, layers, tmp_path / "exact.onnx")
    found = pairs.find(plain)
    assert len(found) == PAIRS[architecture]
    constants = [[at.node.inputs[at.place].const_value.numpy().copy() for at in pair.written] for pair in found]
    changed = smooth.smooth(plain, ROWS, layers, tmp_path, smooth.BLOCKS)
    assert all(pair in found for pair in changed)
    moved = sum(
        any(
            not np.array_equal(was, at.node.inputs[at.place].const_value.numpy())
            for was, at in zip(old, pair.written, strict=True)
        )
        for old, pair in zip(constants, found, strict=True)
    )
    assert moved >= len(changed) >= len(found) // 2, "nothing was moved: no test"
    assert _nodes(plain) == nodes
    same = _logits(plain, layers, tmp_path / "same.onnx")
    np.testing.assert_array_equal(same, exact, "powers of two change no product")
    readers = [reader for pair in changed for reader in pair.readers]
    quantize.quantize(plain, lambda _node: 8, readers)
    sizes = [node.attributes.get_int("block_size") for node in plain.graph if node.op_type == "MatMulNBits"]
    assert sizes.count(quantize.WIDE_BLOCK) == len(readers) < len(sizes)
    after = np.abs(_logits(plain, layers, tmp_path / "after.onnx") - exact).mean()
    other = tmp_path / "other"
    other.mkdir()
    rough, _ = _graph(architecture, other)
    quantize.quantize(rough, lambda _node: 8)
    before = np.abs(_logits(rough, layers, tmp_path / "before.onnx") - exact).mean()
    print(architecture, len(changed), before, after)
    assert after <= before
