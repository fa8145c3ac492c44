"""Encoder-decoder text models to bundles: what every backend's converter shares."""

from __future__ import annotations

from typing import Any

from lukewarm.convert import bergamot, tokenizer
from lukewarm.convert.job import Job
from lukewarm.convert.marian_tokenizer import write_marian_tokenizers, write_shared_tokenizer
from lukewarm.convert.source import Source
from lukewarm.convert.weights import read_json
from lukewarm.predictors.errors import UnsupportedError
from lukewarm.predictors.text_to_text import rules_from

ARCHITECTURES = frozenset(
    {
        "BartForConditionalGeneration", "BlenderbotForConditionalGeneration", "BlenderbotSmallForConditionalGeneration",
        "LongT5ForConditionalGeneration", "M2M100ForConditionalGeneration", "MBartForConditionalGeneration",
        "MT5ForConditionalGeneration", "MarianMTModel", "PegasusForConditionalGeneration", "T5ForConditionalGeneration",
        "NllbMoeForConditionalGeneration", "PegasusXForConditionalGeneration", "UMT5ForConditionalGeneration",
    }
)  # fmt: skip
# all but what was not tried as a graph
ORT = ARCHITECTURES - {"NllbMoeForConditionalGeneration", "PegasusXForConditionalGeneration"}
# with a loader in ctranslate2.converters.transformers (4.8)
CT2 = frozenset(
    {
        "BartForConditionalGeneration", "M2M100ForConditionalGeneration", "MBartForConditionalGeneration",
        "MT5ForConditionalGeneration", "MarianMTModel", "PegasusForConditionalGeneration", "T5ForConditionalGeneration",
        "UMT5ForConditionalGeneration",
    }
)  # fmt: skip


def check(source: Source, backend: str, able: frozenset[str] = ARCHITECTURES) -> None:
    """Refuse what is no encoder-decoder for text, or not carried by the backend. Imports nothing heavy."""
    name = source.architecture
    if name == bergamot.ARCHITECTURE:
        if backend != "ort":
            raise UnsupportedError(
                f"{source.root} is a Firefox Translations student with a recurrent (SSRU) decoder, which backend "
                f"{backend!r} has no code for; this can: ort"
            )
        return
    if name not in ARCHITECTURES:
        raise UnsupportedError(
            f"{name} is not a text-to-text model that is known; known: {', '.join(sorted(ARCHITECTURES))}; "
            "serve it with your own predictor class (predictor: module:Class)"
        )
    if name not in able:
        others = "hf, ort" if name in ORT else "hf"
        raise UnsupportedError(f"backend {backend!r} cannot carry {name} for text-to-text; these can: {others}")
    if "quantization_config" in source.config:
        raise UnsupportedError(f"{source.root} is quantized already; convert from the original weights instead")
    search_options(source)
    if not is_marian(source):
        tokenizer.check(source)


def is_marian(source: Source) -> bool:
    """Whether the tokenizer is Marian's pair of SentencePiece files with a numbering of their own."""
    return all((source.root / name).is_file() for name in ("source.spm", "target.spm", "vocab.json"))


def search_options(source: Source) -> dict[str, Any]:
    """`options.search` of the bundle. Raises UnsupportedError for a generation config that cannot be carried."""
    try:
        return rules_from(source.generation_config, source.config).options()
    except (ValueError, TypeError) as error:
        raise UnsupportedError(f"{source.root}: {error}") from error


def write_common(job: Job) -> dict[str, Any]:
    """Write the tokenizers; returns the options that all backends share."""
    options: dict[str, Any] = {"search": search_options(job.source)}
    if job.source.architecture == bergamot.ARCHITECTURE:
        write_shared_tokenizer(bergamot.find_files(job.source.root)[1], job.out)
    elif is_marian(job.source):
        write_marian_tokenizers(job.source.root, job.out)
        options["unknown_id"] = read_json(job.source.root / "vocab.json")["<unk>"]
    else:
        tokenizer.write(job.source, job.out)
    return options
