"""Text generation for `ort`: a decoder graph with key/value buffers, weights in a file that can be mapped, 32/8/4 bits.

The raw fp32 graph comes from onnxruntime-genai's model builder where it knows the architecture, else from torch.onnx;
`passes` gives both one form, `quantize` shrinks the weights, `cut` halves what is large, `save` writes it. Each result
is loaded once.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lukewarm.convert import architectures, int8_rows, smoothing, tokenizer
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.source import Source
from lukewarm.predictors.errors import MissingExtra, UnsupportedError

MODEL = "model"  # folder in the bundle


_EXPORT = "torch.onnx"
Route = Callable[[Source, Path], Path]  # (source, empty folder) -> the raw graph in it


class OrtConverter:
    """Raw graph, one form, quantize, save, load test."""

    packages: tuple[str, ...] = (
        "onnx", "onnx-ir", "onnxruntime", "onnxruntime-genai", "onnxscript", "tokenizers", "torch", "transformers",
    )  # fmt: skip

    def check(self, source: Source, precision: str) -> None:
        architectures.check_causal(source, "ort")
        tokenizer.check(source, chat=True)

    def convert(self, job: Job) -> Converted:
        special = tokenizer.write(job.source, job.out)
        reasons: list[str] = []
        for route, build in _routes(job.source):
            job.progress(f"{job.spec.name}: making the graph with {route}", None)
            try:
                options = _graph(job, build)
            except UnsupportedError as error:
                reasons.append(f"{route}: {error}")
                shutil.rmtree(job.out / MODEL, ignore_errors=True)
                continue
            # fp32 weights are used where they are mapped: packing would copy them all at every start
            options |= {"special_tokens": special, "graph": route, "prepack": job.spec.precision != "fp32"}
            reach = _short_reach(job.source) if route == _EXPORT else None
            return Converted(options=options, packages=self.packages, max_context_tokens=reach)
        elsewhere = architectures.others(job.source, "ort")
        raise UnsupportedError(f"no graph for {job.source.architecture} ({'; '.join(reasons)}){elsewhere}")


def _routes(source: Source) -> Iterator[tuple[str, Route]]:
    """Ways to a raw graph, best first."""
    try:
        import onnx_ir  # noqa: F401
        import onnxscript  # noqa: F401

        from lukewarm.convert.to_ort import export, genai
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{error.name}, needed to convert for ort,", "convert") from error
    # the builder leaves Mistral's window to its own runtime: its graph would see too far, in long texts only
    if source.architecture in architectures.GENAI and not _has_window(source):
        yield "onnxruntime-genai", genai.build
    yield _EXPORT, export.build


def _has_window(source: Source) -> bool:
    """Whether attention reaches back less far than the model's context."""
    config = source.text_config
    window = config.get("sliding_window")
    if not isinstance(window, int) or config.get("use_sliding_window") is False:
        return False
    return window < (source.max_context_tokens or window + 1)


def _short_reach(source: Source) -> int | None:
    """Where rotary frequencies change with the length, an exported graph holds those of the short range."""
    config = source.text_config
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(rope, Mapping) or rope.get("rope_type", rope.get("type")) not in ("longrope", "su", "dynamic"):
        return None
    for place in (rope, config):
        if isinstance(length := place.get("original_max_position_embeddings"), int):
            return length
    return source.max_context_tokens


def _graph(job: Job, build: Route) -> dict[str, Any]:
    """Build, normalise, quantize, save and try one graph; what the runtime must know of it."""
    import onnx_ir

    from lukewarm.convert.to_ort import passes, trial
    from lukewarm.convert.to_ort.save import save

    folder = job.scratch / build.__module__.rpartition(".")[2]
    folder.mkdir()
    model = onnx_ir.load(build(job.source, folder))
    passes.normalise(model)
    options = describe(model, job.source)
    if job.spec.precision != "fp32":
        options |= _shrink(job, model, options["layers"], folder)
    job.progress(f"{job.spec.name}: writing the graph at {job.spec.precision}", None)
    options["parts"] = save(model, job.out / MODEL)
    del model
    shutil.rmtree(folder)
    trial.run([job.out / MODEL / name for name in options["parts"]], options["layers"])
    return options


def _shrink(job: Job, model: Any, layers: Any, folder: Path) -> dict[str, Any]:
    """Quantize in place, by the precision; what was done. `folder` is for copies meanwhile."""
    from lukewarm.convert.to_ort import passes, whole_rows
    from lukewarm.convert.to_ort.quantize import four_bit_mix, quantize
    from lukewarm.convert.to_ort.smooth import BLOCKS, smooth

    head = passes.find_head(model)
    if job.spec.precision == "int4":
        quantize(model, lambda node: four_bit_mix(node, head))
        return {}
    rows, in_rows = smoothing.job_rows(job), job.spec.precision == "dynamic-int8"
    pairs = smooth(model, rows, layers, folder, int8_rows.ROUNDING if in_rows else BLOCKS)
    done = {"smoothed_pairs": len(pairs)}
    if in_rows:
        chosen = whole_rows.choose(model, head, rows, layers, folder)
        whole_rows.quantize(model, chosen)
        done["whole_rows"] = len(chosen)
    quantize(model, lambda _node: 8, [reader for pair in pairs for reader in pair.readers])
    return done


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


converter = OrtConverter()
