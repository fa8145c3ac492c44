"""Opens ONNX Runtime sessions over graphs that were optimised at conversion."""

from __future__ import annotations

import os
from typing import Any

from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.errors import BundleError, MissingExtra
from lukewarm.predictors.predictor import Runtime


def open_session(bundle: Bundle, name: str, runtime: Runtime) -> Any:
    """A session over one graph of the bundle. Raises BundleError, MissingExtra."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("onnxruntime", "ort") from error
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # done at conversion
    options.intra_op_num_threads = runtime.thread_count()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if not bundle.manifest.options.get("prepack", True):
        options.add_session_config_entry("session.disable_prepacking", "1")
    for key, value in runtime.options.items():
        options.add_session_config_entry(key, str(value))
    path = bundle.path(name)
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=_providers(runtime.device, onnxruntime))
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise BundleError(f"{path} cannot be loaded: {error}; run: lukewarm convert --force") from error


def _providers(device: str, library: Any) -> list[Any]:
    if device == "cpu" or (device == "auto" and "CUDAExecutionProvider" not in library.get_available_providers()):
        return ["CPUExecutionProvider"]
    index = int(device.partition(":")[2] or 0)
    return [("CUDAExecutionProvider", {"device_id": index}), "CPUExecutionProvider"]
