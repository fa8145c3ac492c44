"""Runs CTranslate2's converter for any task, around what it does not know of transformers 5."""

from __future__ import annotations

import warnings

from lukewarm.convert import frameworks
from lukewarm.convert.job import Job
from lukewarm.convert.to_ct2 import MODEL, TYPES
from lukewarm.predictors.errors import MissingExtra, UnsupportedError

# fields that ctranslate2 4.8 asks configurations for and transformers 5 has dropped, with the value they always had
_DROPPED = (
    ("BertConfig", "position_embedding_type", "absolute"),
    ("RobertaConfig", "position_embedding_type", "absolute"),
    ("XLMRobertaConfig", "position_embedding_type", "absolute"),
    ("CamembertConfig", "position_embedding_type", "absolute"),
    ("BartConfig", "normalize_before", False),
    ("MBartConfig", "normalize_before", True),
    ("PegasusConfig", "normalize_before", True),
    ("PegasusConfig", "normalize_embedding", False),
)

__all__ = ["MODEL", "TYPES", "write_model"]


def write_model(job: Job) -> None:
    """Write `model/` at the job's precision. Raises UnsupportedError with the library's reason, MissingExtra."""
    stored, _ = TYPES[job.spec.precision]
    library = frameworks.transformers()
    try:
        from ctranslate2.converters import TransformersConverter
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{error.name}, needed to convert for ct2,", "convert") from error
    job.progress(f"{job.spec.name}: converting with CTranslate2", None)
    for name, field, value in _DROPPED:
        config = getattr(library, name)
        if not hasattr(config, field):
            setattr(config, field, value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            converter = TransformersConverter(str(job.source.root), low_cpu_mem_usage=True)
            converter.convert(str(job.out / MODEL), quantization=stored)
    except (ValueError, AttributeError, NotImplementedError) as error:
        raise UnsupportedError(
            f"CTranslate2 cannot convert {job.source.architecture}: {error}; these can: ort, hf"
        ) from error
