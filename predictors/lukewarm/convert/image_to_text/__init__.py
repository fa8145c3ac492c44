"""Models that describe or read images, to bundles: what every backend's converter shares."""

from __future__ import annotations

import shutil
from typing import Any

from lukewarm.convert import tokenizer
from lukewarm.convert.encoders import check_common
from lukewarm.convert.job import Job
from lukewarm.convert.source import Source
from lukewarm.convert.text_to_text import search_options
from lukewarm.convert.weights import read_json
from lukewarm.predictors.errors import SourceError, UnsupportedError
from lukewarm.predictors.text_to_text import Rules

PAIR, BLIP = "VisionEncoderDecoderModel", "BlipForConditionalGeneration"
GRAPHS = frozenset({PAIR, BLIP})  # an encoder and a decoder: our own search over both, on hf and ort
PROCESSED = frozenset({"GitForCausalLM", "Pix2StructForConditionalGeneration"})  # by transformers alone
PREPROCESSOR = "preprocessor_config.json"
_KEPT = (
    "do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "rescale_factor", "do_normalize",
    "image_mean", "image_std", "do_pad", "do_thumbnail", "do_align_long_axis",
)  # fmt: skip
_DONUTS = ("do_pad", "do_thumbnail", "do_align_long_axis")
_REFUSED = ("do_split_image", "do_flip_channel_order", "do_reduce_labels")


def check(source: Source, backend: str) -> None:
    """Refuse what the backend has no way for. Imports nothing heavy."""
    name = source.architecture
    if name not in GRAPHS | PROCESSED:
        raise UnsupportedError(
            f"{name} is not an image-to-text model that is known; these are, on hf and ort: "
            f"{', '.join(sorted(GRAPHS))}; on hf: {', '.join(sorted(PROCESSED))}; "
            "serve others with your own predictor class (predictor: module:Class)"
        )
    if name not in GRAPHS and backend != "hf":
        raise UnsupportedError(f"backend {backend!r} cannot carry {name} for image-to-text; these can: hf")
    check_common(source)
    if name in GRAPHS:
        preprocessor(source)
        search(source)


def preprocessor(source: Source) -> dict[str, Any]:
    """The fields of preprocessor_config.json that the predictor needs. Raises UnsupportedError, SourceError."""
    config = dict(read_json(source.root / PREPROCESSOR))
    donut = str(config.get("image_processor_type", config.get("feature_extractor_type", ""))).startswith("Donut")
    refused = [key for key in (*_REFUSED, *(() if donut else _DONUTS)) if config.get(key)]
    if refused:
        raise UnsupportedError(f"{source.root / PREPROCESSOR} asks for {', '.join(refused)}, which is not known here")
    if isinstance(config.get("size"), list):  # Donut's old files: width and height
        width, height = config["size"] if donut else reversed(config["size"])
        config["size"] = {"height": height, "width": width}
    if donut:  # what such files leave out is on
        config = {"do_thumbnail": True, "do_pad": True, "resample": 2, **config}
        if not isinstance(config.get("size"), dict) or not {"height", "width"} <= set(config["size"]):
            raise SourceError(f"{source.root / PREPROCESSOR}: size needs height and width")
    return {key: config[key] for key in _KEPT if config.get(key) is not None}


def search(source: Source) -> dict[str, Any]:
    """`options.search`. BLIP ends at its separator, begins as its text model does, and says so in its configuration."""
    if source.architecture != BLIP:
        return search_options(source)
    words = dict(source.config.get("text_config") or {})
    begin, end = words.get("bos_token_id", 30522), words.get("sep_token_id", 102)
    return Rules(start_ids=(int(begin),), eos_ids=(int(end),), max_new_tokens=64).options()


def write_common(job: Job) -> dict[str, Any]:
    """Write the tokenizer; returns the options that all backends share."""
    tokenizer.write(job.source, job.out)
    return {"search": search(job.source), "preprocessor": preprocessor(job.source)}


def copy_processor(job: Job) -> None:
    """The small files of the source into `model/`: what transformers' own classes prepare and spell with."""
    for path in job.source.root.iterdir():
        target = job.out / "model" / path.name
        small = path.suffix in (".json", ".txt", ".model", ".spm") and not path.name.endswith(".index.json")
        if small and not target.exists():
            shutil.copyfile(path, target)


def generate_options(source: Source) -> dict[str, Any]:
    """Options for a model that transformers generates with."""
    starts = source.token_ids("decoder_start_token_id") or source.token_ids("bos_token_id")
    ends = source.token_ids("eos_token_id")
    rules = Rules(start_ids=tuple(starts[:1]), eos_ids=tuple(ends), max_new_tokens=128)
    return {"way": "generate", "search": rules.options()}


def positions(source: Source) -> int | None:
    """Tokens that the decoder has room for; RoBERTa's kind counts from behind the padding token."""
    words, found = source.text_config, source.max_context_tokens
    if found and words.get("model_type") in ("roberta", "xlm-roberta", "camembert"):
        found -= 1 + int(words.get("pad_token_id") or 0)
    return found
