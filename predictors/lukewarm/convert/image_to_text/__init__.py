"""Vision encoder-decoders (ViT-GPT2, TrOCR, Donut's kind) to bundles."""

from __future__ import annotations

from typing import Any

from lukewarm.convert import tokenizer
from lukewarm.convert.encoders import check_common
from lukewarm.convert.job import Job
from lukewarm.convert.source import Source
from lukewarm.convert.text_to_text import search_options
from lukewarm.convert.weights import read_json
from lukewarm.predictors.errors import UnsupportedError

ARCHITECTURE = "VisionEncoderDecoderModel"
PREPROCESSOR = "preprocessor_config.json"
_KEPT = (
    "do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "rescale_factor", "do_normalize",
    "image_mean", "image_std",
)  # fmt: skip
_REFUSED = ("do_pad", "do_thumbnail", "do_align_long_axis", "do_split_image")


def check(source: Source) -> None:
    """Refuse what is no vision encoder-decoder. Imports nothing heavy."""
    if source.architecture != ARCHITECTURE:
        raise UnsupportedError(
            f"{source.architecture} is not an image-to-text model that is known; {ARCHITECTURE} is, on hf and ort; "
            "serve others with your own predictor class (predictor: module:Class)"
        )
    check_common(source)
    preprocessor(source)
    search_options(source)


def preprocessor(source: Source) -> dict[str, Any]:
    """The fields of preprocessor_config.json that the predictor needs. Raises UnsupportedError, SourceError."""
    config = read_json(source.root / PREPROCESSOR)
    if refused := [key for key in _REFUSED if config.get(key)]:
        raise UnsupportedError(f"{source.root / PREPROCESSOR} asks for {', '.join(refused)}, which is not known here")
    return {key: config[key] for key in _KEPT if config.get(key) is not None}


def write_common(job: Job) -> dict[str, Any]:
    """Write the tokenizer; returns the options that all backends share."""
    tokenizer.write(job.source, job.out)
    return {"search": search_options(job.source), "preprocessor": preprocessor(job.source)}
