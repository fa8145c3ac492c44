"""Text generation for `ort`: a decoder graph with key/value buffers, weights in a file that can be mapped, 32/8/4 bits.

The raw fp32 graph comes from onnxruntime-genai's model builder where it knows the architecture, else from torch.onnx;
`passes` gives both one form, `quantize` shrinks the weights, `save` writes them. Each result is loaded once.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from lukewarm.convert import architectures, tokenizer
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.source import Source
from lukewarm.predictors.errors import MissingExtra, UnsupportedError

MODEL = "model"  # folder in the bundle


class OrtConverter:
    """Raw graph, one form, quantize, save, load test."""

    packages: tuple[str, ...] = (
        "onnx", "onnx-ir", "onnxruntime", "onnxruntime-genai", "onnxscript", "tokenizers", "torch", "transformers",
    )  # fmt: skip

    def check(self, source: Source, precision: str) -> None:
        architectures.check_causal(source, "ort")
        tokenizer.check(source)

    def convert(self, job: Job) -> Converted:
        special = tokenizer.write(job.source, job.out)
        route, model = _graph(job)
        options = describe(model, job.source)
        job.progress(f"{job.spec.name}: writing the graph at {job.spec.precision}", None)
        if bits := BITS[job.spec.precision]:
            from lukewarm.convert.to_ort.quantize import quantize

            quantize(model, lambda node: bits)
        from lukewarm.convert.to_ort.save import save

        save(model, job.out / MODEL)
        load_test(job.out / MODEL)
        # fp32 weights are used where they are mapped: packing would copy them all at every start
        options |= {"special_tokens": special, "graph": route, "prepack": job.spec.precision != "fp32"}
        return Converted(options=options, packages=self.packages)


BITS = {"fp32": 0, "int8": 8, "int4": 4}


def _graph(job: Job) -> tuple[str, Any]:
    """The raw graph in its one form, and which way it came."""
    try:
        import onnx_ir
        import onnxscript  # noqa: F401

        from lukewarm.convert.to_ort import export, genai, passes
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{error.name}, needed to convert for ort,", "convert") from error
    reason = ""
    if job.source.architecture in architectures.GENAI:
        job.progress(f"{job.spec.name}: building the graph with onnxruntime-genai", None)
        try:
            model = onnx_ir.load(genai.build(job.source, job.scratch / "genai"))
            passes.normalise(model)
            return "onnxruntime-genai", model
        except UnsupportedError as error:
            reason = f"{error}; then "
    job.progress(f"{job.spec.name}: exporting the graph with torch.onnx", None)
    raw = job.scratch / "raw.onnx"
    try:
        export.export(job.source, raw)
        model = onnx_ir.load(raw)
        passes.normalise(model)
    except UnsupportedError as error:
        raise UnsupportedError(f"{reason}{error}") from error
    return "torch.onnx", model


def describe(model: Any, source: Source) -> dict[str, Any]:
    """What the runtime must know to make its buffers: per layer [key/value heads, head size]."""
    config = source.text_config
    layers = []
    for value in model.graph.inputs:
        if value.name.startswith("past_key_values.") and value.name.endswith(".key"):
            heads, size = value.shape[1], value.shape[3]
            if not isinstance(size, int):
                size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
            layers.append([int(heads), int(size)])
    return {"layers": layers}


def load_test(folder: Path) -> None:
    """Load the graph as the runtime will, in a process of its own. Raises UnsupportedError: some builds do not load."""
    code = (
        "import sys, onnxruntime as o\n"
        "s = o.SessionOptions(); s.graph_optimization_level = o.GraphOptimizationLevel.ORT_DISABLE_ALL\n"
        "s.log_severity_level = 4\n"
        "o.InferenceSession(sys.argv[1], s, providers=['CPUExecutionProvider'])"
    )
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", code, str(folder / "model.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise UnsupportedError(f"ONNX Runtime cannot load the graph: {lines[-1] if lines else done.returncode}")


converter = OrtConverter()
