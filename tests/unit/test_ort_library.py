"""ONNX Runtime through its C library: same answers and errors as the Python package, which does where it is not."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from lukewarm.predictors.errors import BundleError
from lukewarm.predictors.ort import capi, session
from lukewarm.predictors.ort.c_session import RunOptions, Session, SessionOptions, Value
from lukewarm.predictors.predictor import Runtime

TYPES = ["float32", "int64", "int32", "uint8", "bool", "float16", "float64"]


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """Takes a [n, 3] of every type; gives each back, and the sum of the floats."""
    kinds = [helper.np_dtype_to_tensor_dtype(np.dtype(name)) for name in TYPES]
    inputs = [
        helper.make_tensor_value_info(f"{name}_in", kind, ["n", 3]) for name, kind in zip(TYPES, kinds, strict=True)
    ]
    outputs = [
        helper.make_tensor_value_info(f"{name}_out", kind, ["n", 3]) for name, kind in zip(TYPES, kinds, strict=True)
    ]
    nodes = [helper.make_node("Identity", [f"{name}_in"], [f"{name}_out"]) for name in TYPES]
    nodes.append(helper.make_node("ReduceSum", ["float32_in"], ["sum"], keepdims=0))
    outputs.append(helper.make_tensor_value_info("sum", TensorProto.FLOAT, []))
    made = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    onnx.save(made, tmp_path / "graph.onnx")
    return tmp_path / "graph.onnx"


@pytest.fixture
def feeds() -> dict[str, Any]:
    draw = np.random.default_rng(0)
    return {f"{name}_in": (draw.random((2, 3)) * 5).astype(name) for name in TYPES}


def test_answers_are_those_of_the_python_package(graph: Path, feeds: dict[str, Any]) -> None:
    ours = session.open_graph(graph, Runtime(threads=1, device="cpu"))
    assert isinstance(ours, Session)
    theirs = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    assert [node.name for node in ours.get_inputs()] == [node.name for node in theirs.get_inputs()]
    assert [node.name for node in ours.get_outputs()] == [node.name for node in theirs.get_outputs()]
    assert ours.get_inputs()[0].shape == [None, 3]
    for mine, other in zip(ours.run(None, feeds), theirs.run(None, feeds), strict=True):
        assert mine.dtype == other.dtype
        assert mine.shape == other.shape
        assert np.array_equal(mine, other)
    (total,) = ours.run(["sum"], feeds)
    assert total == pytest.approx(feeds["float32_in"].sum())


def test_without_the_library_the_package_does(
    graph: Path, feeds: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capi, "_opened", [None])
    found = session.open_graph(graph, Runtime(threads=1, device="cpu"))
    assert isinstance(found, onnxruntime.InferenceSession)
    values = {name: session.value_for(found, array) for name, array in feeds.items()}
    assert found.run_with_ort_values(["int64_out"], values)[0].numpy().tolist() == feeds["int64_in"].tolist()


@pytest.mark.parametrize("library", [True, False])
def test_a_graph_that_is_none_is_named(library: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not library:
        monkeypatch.setattr(capi, "_opened", [None])
    (tmp_path / "x.onnx").write_bytes(b"nothing of the kind")
    for name in ("x.onnx", "missing.onnx"):
        with pytest.raises(BundleError, match=rf"{name} cannot be loaded: .+; run: lukewarm convert --force"):
            session.open_graph(tmp_path / name, Runtime(threads=1, device="cpu"))


def test_wrong_inputs_are_errors_and_the_session_goes_on(graph: Path, feeds: dict[str, Any]) -> None:
    opened = session.open_graph(graph, Runtime(threads=1, device="cpu"))
    for wrong in ({}, feeds | {"nobody": feeds["int64_in"]}, feeds | {"int64_in": feeds["float32_in"]}):
        with pytest.raises(capi.OrtError, match=r"int64|nobody|float32_in"):
            opened.run(["int64_out"], wrong)
    assert opened.run(["int64_out"], feeds)[0].tolist() == feeds["int64_in"].tolist()


def test_what_a_run_made_lives_as_long_as_its_array_and_no_longer(graph: Path, feeds: dict[str, Any]) -> None:
    opened = session.open_graph(graph, Runtime(threads=1, device="cpu"))
    values = {name: Value.of(opened.engine, array) for name, array in feeds.items()}
    (made,) = opened.run_with_ort_values(["int64_out"], values)
    seen, array = weakref.ref(made), made.numpy()
    del made, opened, values
    gc.collect()
    assert seen() is not None
    assert array.tolist() == feeds["int64_in"].tolist()
    del array
    gc.collect()
    assert seen() is None


def test_terminate_ends_a_run(graph: Path, feeds: dict[str, Any]) -> None:
    opened = session.open_graph(graph, Runtime(threads=1, device="cpu"))
    options = RunOptions(opened.engine)
    options.terminate = True
    binding = opened.io_binding()
    for name, array in feeds.items():
        binding.bind_ortvalue_input(name, Value.of(opened.engine, array))
    binding.bind_output("sum")
    with pytest.raises(capi.OrtError, match="terminate"):
        opened.run_with_iobinding(binding, options)
    opened.run_with_iobinding(binding)
    assert binding.get_outputs()[0].numpy() == pytest.approx(feeds["float32_in"].sum())


def test_an_unknown_configuration_value_is_an_error(graph: Path) -> None:
    engine = capi.api()
    assert engine is not None
    with pytest.raises(capi.OrtError):
        Session(str(graph), SessionOptions(engine, 1, {"": "x"}))


def test_a_file_that_is_no_library_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "onnxruntime"
    (package / "capi").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "capi" / "libonnxruntime.so.1").write_bytes(b"text")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(capi, "_opened", [])
    assert capi.library_path() == str(package / "capi" / "libonnxruntime.so.1")
    assert capi.api() is None


def test_the_light_modules_import_nothing_heavy() -> None:
    """What runs before anything else may not bring what it runs before."""
    code = (
        "import sys, lukewarm.predictors, lukewarm.predictors.ahead, lukewarm.predictors.ort.opening\n"
        "heavy = {'typing', 'dataclasses', 'pathlib', 'msgspec', 'numpy', 'onnxruntime', 'tokenizers', 'logging'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    paths = [path for path in sys.path if path]
    command = [sys.executable, "-S", "-E", "-c", f"import sys; sys.path[:0] = {paths!r}\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
