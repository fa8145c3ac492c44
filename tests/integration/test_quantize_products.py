"""Which products become MatMulNBits, and that those which do still give the product."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.models
INPUTS, OUTPUTS = 128, 256


def _gemm(bias: tuple[int, ...], **attributes: Any) -> tuple[Any, Any]:
    """A model of one Gemm, and the function that it is."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    weight = random.normal(size=(INPUTS, OUTPUTS)).astype(np.float32)
    added = random.normal(size=bias).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], **attributes)],
        "gemm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", INPUTS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", OUTPUTS])],
        [
            numpy_helper.from_array(np.ascontiguousarray(weight.T) if attributes.get("transB") else weight, "w"),
            numpy_helper.from_array(added, "b"),
        ],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return model, lambda x: attributes.get("alpha", 1.0) * x @ weight + added


@pytest.mark.parametrize(
    ("bias", "attributes", "kind"),
    [
        ((OUTPUTS,), {}, "MatMulNBits"),
        ((1, OUTPUTS), {}, "MatMulNBits"),
        ((1, OUTPUTS), {"transB": 1}, "MatMulNBits"),
        ((OUTPUTS,), {"alpha": 0.5}, "Gemm"),
        ((1,), {}, "Gemm"),
    ],
)
def test_a_gemm(bias: tuple[int, ...], attributes: dict[str, Any], kind: str) -> None:
    import numpy as np
    import onnx_ir
    import onnxruntime

    from lukewarm.convert.to_ort.quantize import quantize

    source, product = _gemm(bias, **attributes)
    model = onnx_ir.from_proto(source)
    quantize(model, lambda node: 8)
    assert [node.op_type for node in model.graph] == [kind]
    session = onnxruntime.InferenceSession(onnx_ir.to_proto(model).SerializeToString())
    x = np.random.default_rng(1).normal(size=(3, INPUTS)).astype(np.float32)
    expected = product(x)
    error = np.abs(session.run(None, {"x": x})[0] - expected).max()
    assert error < 0.05 * expected.std()  # 8 bits of weights and of activations


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_gemm_in_whole_rows(transposed: int) -> None:
    """Each row has a scale of its own: rows beside it change nothing, and one of zeros is the bias alone."""
    import numpy as np
    import onnx_ir
    import onnxruntime

    from lukewarm.convert.to_ort.whole_rows import quantize

    source, product = _gemm((OUTPUTS,), transB=transposed)
    model = onnx_ir.from_proto(source)
    quantize(model, list(model.graph))
    kinds = [node.op_type for node in model.graph]
    assert kinds == ["Abs", "ReduceMax", "Div", "QuantizeLinear", "MatMulIntegerToFloat", "Mul", "Add"]
    session = onnxruntime.InferenceSession(onnx_ir.to_proto(model).SerializeToString())
    x = np.random.default_rng(1).normal(size=(3, INPUTS)).astype(np.float32)
    x[1] *= 1000
    x[2] = 0
    found, expected = session.run(None, {"x": x})[0], product(x)
    for row in range(2):
        assert np.abs(found[row] - expected[row]).max() < 0.05 * expected[row].std()
        np.testing.assert_array_equal(session.run(None, {"x": x[row : row + 1]})[0][0], found[row])
    np.testing.assert_array_equal(found[2], expected[2])


def test_two_products_of_one_value_round_it_once() -> None:
    import onnx_ir
    from onnx import TensorProto, helper, numpy_helper

    from lukewarm.convert.to_ort.whole_rows import quantize

    weight = numpy_helper.from_array(_random(INPUTS, OUTPUTS), "w"), numpy_helper.from_array(_random(INPUTS, 64), "v")
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "z")]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("MatMul", ["x", "v"], ["z"])],
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", INPUTS])],
        shapes,
        list(weight),
    )
    model = onnx_ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))
    quantize(model, list(model.graph))
    kinds = [node.op_type for node in model.graph]
    assert kinds.count("QuantizeLinear") == 1
    assert kinds.count("MatMulIntegerToFloat") == 2


def _random(*shape: int) -> Any:
    import numpy as np

    return np.random.default_rng(2).normal(size=shape).astype(np.float32)
