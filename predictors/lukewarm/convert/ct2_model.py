"""Runs CTranslate2's converter for any task, around what it does not know of transformers 5."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from lukewarm.convert import ct2_int8, ct2_loaders, ct2_smooth, frameworks, smoothing
from lukewarm.convert.job import Job
from lukewarm.predictors.errors import MissingExtra, UnsupportedError

MODEL = "model"
# precision -> (how weights are stored, how CTranslate2 computes)
TYPES = {
    "fp32": ("float32", "float32"),
    "fp16": ("float16", "float16"),
    "bf16": ("bfloat16", "bfloat16"),
    "int8": ("int8", "int8"),
    "int8w": ("int8", "float32"),
}


def write_model(job: Job) -> dict[str, Any]:
    """Write `model/` at the job's precision; returns what the manifest shall say of it.

    Raises UnsupportedError with the library's reason, MissingExtra.
    """
    said: dict[str, Any] = {}
    stored, computed = TYPES[job.spec.precision]
    library = frameworks.transformers()
    try:
        from ctranslate2.converters import TransformersConverter
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{error.name}, needed to convert for ct2,", "convert") from error
    job.progress(f"{job.spec.name}: converting with CTranslate2", None)
    ct2_loaders.install(library)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            converter = TransformersConverter(str(job.source.root), low_cpu_mem_usage=True)
            if computed == "int8":
                said = _write_int8(job, converter)
            else:
                converter.convert(str(job.out / MODEL), quantization=stored)
    except (ValueError, AttributeError, KeyError, NotImplementedError) as error:
        raise UnsupportedError(
            f"CTranslate2 cannot convert {job.source.architecture}: {error}; these can: ort, hf"
        ) from error
    name_unknown_token(job.out / MODEL)
    return said


def _write_int8(job: Job, converter: Any) -> dict[str, Any]:
    """What `converter.convert` does, with smoothed activations where we can, and with our scales."""
    said: dict[str, Any] = {}
    if job.spec.task == "text-generation" and job.source.config.get("model_type") in ct2_smooth.MODEL_TYPES:
        load = converter.load_model

        def load_smoothed(*names: Any, **options: Any) -> Any:
            model = load(*names, **options).float().eval()
            said["smoothed_pairs"] = ct2_smooth.smooth(model, smoothing.job_rows(job))
            return model

        converter.load_model = load_smoothed
    specification = converter._load()
    specification.validate()
    ct2_int8.quantize(specification)
    (job.out / MODEL).mkdir()
    specification.save(str(job.out / MODEL))
    return said


def name_unknown_token(folder: Path) -> None:
    """Where the model has no token for unknown words, name its end token; the converter writes null for some classes.

    Nothing is ever unknown to us: tokens are spelt from their ids. The name must be one of the vocabulary's, or
    CTranslate2 adds it behind the last row of the embedding.
    """
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    if config.get("unk_token", "") is None:
        config["unk_token"] = config.get("eos_token") or config.get("bos_token") or ""
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
