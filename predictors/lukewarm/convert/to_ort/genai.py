"""The raw fp32 graph by onnxruntime-genai's model builder, in a process of its own; no run-time use of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from lukewarm.convert.source import Source
from lukewarm.predictors.errors import UnsupportedError


def build(source: Source, folder: Path) -> Path:
    """Write model.onnx and its data into `folder`. Raises UnsupportedError with the builder's last line."""
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(source.root), "-o", str(folder)]
    command += ["-p", "fp32", "-e", "cpu", "-c", str(folder / "cache"), "--extra_options", "hf_remote=false"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "ORT_DISABLE_TELEMETRY": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    graph = folder / "model.onnx"
    if done.returncode or not graph.is_file():
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise UnsupportedError(
            f"onnxruntime-genai's builder failed on {source.architecture}: {lines[-1] if lines else done.returncode}"
        )
    return graph
