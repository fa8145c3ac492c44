"""Encoder-decoder text models to bundles: what every backend's converter shares."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lukewarm.convert import bergamot, tokenizer
from lukewarm.convert.architectures import task_hint
from lukewarm.convert.job import Job
from lukewarm.convert.marian_tokenizer import write_marian_tokenizers, write_shared_tokenizer
from lukewarm.convert.source import Source
from lukewarm.convert.weights import read_json
from lukewarm.predictors.errors import UnsupportedError
from lukewarm.predictors.text_to_text import rules_from
from lukewarm.predictors.tokenization import TOKENIZER_FILE

_LANGUAGE = re.compile(r"[a-z]{2,3}_[A-Z][A-Za-z]{1,3}|__[a-z]{2,}(_[A-Z]{2})?__")  # fra_Latn, fr_XX, __fr__

ARCHITECTURES = frozenset(
    {
        "BartForConditionalGeneration", "BigBirdPegasusForConditionalGeneration", "BlenderbotForConditionalGeneration",
        "BlenderbotSmallForConditionalGeneration", "EncoderDecoderModel", "FSMTForConditionalGeneration",
        "LEDForConditionalGeneration", "LongT5ForConditionalGeneration", "M2M100ForConditionalGeneration",
        "MBartForConditionalGeneration", "MT5ForConditionalGeneration", "MarianMTModel", "MvpForConditionalGeneration",
        "NllbMoeForConditionalGeneration", "PLBartForConditionalGeneration", "PegasusForConditionalGeneration",
        "PegasusXForConditionalGeneration", "ProphetNetForConditionalGeneration",
        "SwitchTransformersForConditionalGeneration", "T5ForConditionalGeneration", "T5GemmaForConditionalGeneration",
        "UMT5ForConditionalGeneration",
    }
)  # fmt: skip
# no graph that gives the model's texts: the exporter fails (LED, mixtures of experts), or the texts are others (FSMT)
ORT = ARCHITECTURES - {
    "BigBirdPegasusForConditionalGeneration", "EncoderDecoderModel", "FSMTForConditionalGeneration",
    "LEDForConditionalGeneration", "NllbMoeForConditionalGeneration", "PegasusXForConditionalGeneration",
    "ProphetNetForConditionalGeneration", "SwitchTransformersForConditionalGeneration",
    "T5GemmaForConditionalGeneration",
}  # fmt: skip
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
            f"{name} is not a text-to-text model that is known (known: {', '.join(sorted(ARCHITECTURES))})"
            f"{task_hint(name)}"
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


def languages(out: Path) -> dict[str, Any]:
    """`options.languages` of a bundle whose tokenizer has a token for each language; empty for others."""
    from tokenizers import Tokenizer

    core = Tokenizer.from_file(str(out / TOKENIZER_FILE))
    added = core.get_added_tokens_decoder().items()
    ids = {token.content.strip("_"): number for number, token in added if _LANGUAGE.fullmatch(token.content)}
    if len(ids) < 2:
        return {}
    ends = core.encode("a").ids
    source = next((token for token in (ends[0], *ends[:-3:-1]) if token in ids.values()), None)
    return {"languages": {"ids": ids, "source_id": source}}


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
        options |= languages(job.out)
    return options
