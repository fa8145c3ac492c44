"""Encoders, and decoders that embed, to bundles; what comes behind the model is in `modules.py`."""

from __future__ import annotations

import re
from typing import Any

from lukewarm.convert import tokenizer
from lukewarm.convert.architectures import task_hint
from lukewarm.convert.embeddings import modules
from lukewarm.convert.encoders import check_common
from lukewarm.convert.job import Job
from lukewarm.convert.source import Source
from lukewarm.predictors.errors import UnsupportedError

# model types with an encoder loader in ctranslate2.converters.transformers (4.8)
CT2 = frozenset({"bert", "camembert", "distilbert", "roberta", "xlm-roberta"})
_HEADS = re.compile(r"For(SequenceClassification|TokenClassification|QuestionAnswering|MultipleChoice)\Z")


def check(source: Source, backend: str) -> None:
    """Refuse what has no embeddings, or what the backend cannot carry. Imports nothing heavy."""
    name = source.architecture
    if _HEADS.search(name):
        raise UnsupportedError(f"{name} has another head than an embedding model{task_hint(name)}")
    if source.config.get("is_encoder_decoder") and not name.endswith("EncoderModel"):
        raise UnsupportedError(f"{name} is an encoder-decoder; set task: text-to-text")
    if backend == "ct2" and source.config.get("model_type") not in CT2:
        raise UnsupportedError(
            f"CTranslate2 has no encoder loader for {name}; these can: hf, ort (ct2 has: {', '.join(sorted(CT2))})"
        )
    check_common(source)
    modules.options(source)


def auto_class(source: Source) -> str:
    """The class of transformers that gives hidden states: `AutoModel`, but for the encoder half of a T5."""
    return source.architecture if source.architecture.endswith("EncoderModel") else "AutoModel"


def write_common(job: Job) -> dict[str, Any]:
    """Write tokenizer and dense layers; returns the options that all backends share."""
    tokenizer.write(job.source, job.out)
    modules.write_dense(job.source, job.out)
    return modules.options(job.source)
