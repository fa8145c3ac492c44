"""Text generation for `bnb`: checkpoints saved quantized (8-bit or nf4), so that the image holds no fp32 weights."""

from __future__ import annotations

from typing import Any

from lukewarm.convert import architectures, frameworks, hf_trial, tokenizer
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.source import Source
from lukewarm.predictors.errors import MissingExtra, UnsupportedError

MODEL = "model"


class BnbConverter:
    """Quantizes while loading, saves what was quantized."""

    packages: tuple[str, ...] = ("torch", "transformers", "tokenizers", "bitsandbytes", "accelerate")

    def check(self, source: Source, precision: str) -> None:
        architectures.check_causal(source, "bnb")
        tokenizer.check(source, chat=True)

    def convert(self, job: Job) -> Converted:
        model = job.out / MODEL
        special = tokenizer.write(job.source, job.out)
        job.progress(f"{job.spec.name}: quantizing with bitsandbytes", None)
        config = quantization_config(job.spec.precision)
        loaded = frameworks.load_causal_lm(job.source, quantization_config=config, device_map="cpu")
        if not getattr(loaded, "is_quantized", False):
            raise UnsupportedError(f"bitsandbytes found nothing to quantize in {job.source.architecture}")
        loaded.save_pretrained(model)
        found = hf_trial.run(loaded, job.source, quantized=True)
        return Converted(options={"special_tokens": special, **found}, packages=self.packages)


def quantization_config(precision: str) -> Any:
    """What transformers needs to quantize at `int8` or `nf4`. Raises MissingExtra."""
    library = frameworks.transformers()
    import torch

    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise MissingExtra("bitsandbytes", "bnb") from error
    if precision == "int8":
        return library.BitsAndBytesConfig(load_in_8bit=True)
    return library.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )


converter = BnbConverter()
