"""Where a decoder graph is cut, and that its halves say what the whole says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.models

WIDTH = 64


def chain(weights: list[int], *, skip: bool = False) -> Any:
    """x -> MatMulNBits of so many outputs, then back to WIDTH, for each; with `skip` x is added at the end as well."""
    import onnx_ir as ir

    from lukewarm.convert.to_ort.passes import MICROSOFT
    from lukewarm.convert.to_ort.quantize import BLOCK, blocks

    generator = np.random.default_rng(0)
    x = ir.val("x", dtype=ir.DataType.FLOAT, shape=["batch", "length", WIDTH])
    graph = ir.Graph([x], [], nodes=[], opset_imports={"": 21, MICROSOFT: 1}, name="chain")

    def product(value: Any, rows: int, width: int, name: str) -> Any:
        codes, scales = blocks(generator.standard_normal((rows, width)).astype(np.float32) / 8, 8)
        inputs = [value]
        for kind, array in (("codes", codes), ("scales", scales)):
            tensor = ir.Tensor(array, name=f"{name}.{kind}")
            made = ir.Value(name=tensor.name, const_value=tensor, shape=tensor.shape, type=ir.TensorType(tensor.dtype))
            graph.initializers[made.name] = made
            inputs.append(made)
        numbers = {"K": width, "N": rows, "bits": 8, "block_size": BLOCK}
        return node(MICROSOFT, "MatMulNBits", inputs, numbers, name)

    def node(domain: str, kind: str, inputs: list[Any], numbers: dict[str, int], name: str) -> Any:
        made = ir.Node(domain, kind, inputs, [ir.AttrInt64(key, value) for key, value in numbers.items()], name=name)
        made.outputs[0].name = name
        made.outputs[0].dtype = ir.DataType.FLOAT
        graph.append(made)
        return made.outputs[0]

    value = x
    for place, rows in enumerate(weights):
        up = product(value, rows, WIDTH, f"up{place}")
        value = product(up, WIDTH, rows, f"down{place}")
    if skip:
        value = node("", "Add", [value, graph[0].outputs[0]], {}, "sum")
    graph.outputs.append(value)
    return ir.Model(graph, ir_version=10)


def halves(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    from lukewarm.convert.to_ort import cut

    monkeypatch.setattr(cut, "_WORTH_BYTES", 1)
    return cut.cut(model)


def names(model: Any) -> list[str]:
    return [node.name for node in model.graph]


def test_the_cut_balances_what_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = halves(chain([64, 64, 128]), monkeypatch)
    assert names(first) == ["up0", "down0", "up1", "down1"]
    assert names(second) == ["up2", "down2"]
    assert [value.name for value in second.graph.inputs] == ["down1"]
    assert set(first.graph.initializers).isdisjoint(second.graph.initializers)


def test_a_small_graph_and_one_heavy_product_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from lukewarm.convert.to_ort import cut

    small = chain([64, 64])
    assert cut.cut(small) == [small]
    heavy = chain([32])
    heavy.graph.remove([node for node in heavy.graph if node.name == "down0"], safe=False)
    assert halves(heavy, monkeypatch) == [heavy]


def test_a_graph_whose_halves_share_too_much_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from lukewarm.convert.to_ort import cut

    model = chain([64, 64, 64], skip=True)
    assert len(halves(model, monkeypatch)) == 2
    monkeypatch.setattr(cut, "_CROSSING", 1)
    assert halves(model, monkeypatch) == [model]


def test_the_halves_say_what_the_whole_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx_ir as ir

    from lukewarm.predictors.ort.session import library

    model = chain([64, 96, 64], skip=True)
    ir.save(model, tmp_path / "whole.onnx")
    parts = halves(model, monkeypatch)
    assert len(parts) == 2
    assert len(parts[0].graph.outputs) == 2, "the hidden value, and what is added at the end"
    x = np.random.default_rng(1).standard_normal((2, 3, WIDTH)).astype(np.float32)
    provider = ["CPUExecutionProvider"]
    whole = library().InferenceSession(str(tmp_path / "whole.onnx"), providers=provider)
    (expected,) = whole.run(None, {"x": x})
    values = {"x": x}
    for number, part in enumerate(parts):
        ir.save(part, tmp_path / f"{number}.onnx")
        session = library().InferenceSession(str(tmp_path / f"{number}.onnx"), providers=provider)
        taken = {value.name: values[value.name] for value in session.get_inputs()}
        left = [value.name for value in session.get_outputs()]
        values.update(zip(left, session.run(left, taken), strict=True))
    np.testing.assert_array_equal(values["sum"], expected)
