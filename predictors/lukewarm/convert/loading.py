"""Loads and saves transformers models of any class for converters; refuses weights that do not fit."""

from __future__ import annotations

from typing import Any

from lukewarm.convert import frameworks, to_hf
from lukewarm.convert.job import Job
from lukewarm.convert.source import Source
from lukewarm.predictors.errors import SourceError, UnsupportedError

# buffers and heads that some classes do not use and old files do not hold
_HARMLESS = ("position_ids", "pooler.", "embed_positions.weight", "final_logits_bias")


def load_model(source: Source, auto_class: str, dtype: str = "float32", **options: Any) -> Any:
    """A model of one of transformers' auto classes, in evaluation mode. Raises SourceError, UnsupportedError."""
    library = frameworks.transformers()
    import torch

    try:
        model, report = getattr(library, auto_class).from_pretrained(
            source.root,
            dtype=getattr(torch, dtype),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **options,
        )
    except (ValueError, KeyError, ImportError) as error:
        raise UnsupportedError(f"transformers cannot load {source.root}: {frameworks._first_line(error)}") from error
    except (OSError, RuntimeError) as error:
        raise SourceError(f"transformers cannot load {source.root}: {frameworks._first_line(error)}") from error
    missing = sorted(key for key in report["missing_keys"] if not any(word in key for word in _HARMLESS))
    if missing:
        raise SourceError(f"{source.root} lacks {len(missing)} weights of its architecture, first {missing[0]}")
    return model.eval()


def save_model(job: Job, auto_class: str) -> None:
    """Write `model/` for the hf backend at the job's precision: linked where the bytes are right already."""
    model = job.out / to_hf.MODEL
    model.mkdir()
    precision = job.spec.precision
    if {tensor.dtype for tensor in job.source.tensors.values()} <= to_hf._LINKED[precision]:
        to_hf._link(job)
        return
    job.progress(f"{job.spec.name}: saving at {precision}", None)
    load_model(job.source, auto_class, to_hf.DTYPES[precision]).save_pretrained(model)
