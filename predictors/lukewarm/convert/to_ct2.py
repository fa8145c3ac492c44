"""Text generation for `ct2`: CTranslate2's own converter, with the source's tokenizer beside it."""

from __future__ import annotations

from lukewarm.convert import architectures, frameworks, tokenizer
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.source import Source
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


class Ct2Converter:
    """Runs `TransformersConverter`; refuses architectures that it has no loader for."""

    packages: tuple[str, ...] = ("ctranslate2", "transformers", "tokenizers", "torch")

    def check(self, source: Source, precision: str) -> None:
        architectures.check_ct2(source)
        tokenizer.check(source)

    def convert(self, job: Job) -> Converted:
        special = tokenizer.write(job.source, job.out)
        stored, compute = TYPES[job.spec.precision]
        frameworks.transformers()
        try:
            from ctranslate2.converters import TransformersConverter
        except ModuleNotFoundError as error:
            raise MissingExtra(f"{error.name}, needed to convert for ct2,", "convert") from error
        job.progress(f"{job.spec.name}: converting with CTranslate2", None)
        try:
            TransformersConverter(str(job.source.root), low_cpu_mem_usage=True).convert(
                str(job.out / MODEL), quantization=stored
            )
        except (ValueError, AttributeError, NotImplementedError) as error:
            elsewhere = architectures.others(job.source, "ct2")
            raise UnsupportedError(
                f"CTranslate2 cannot convert {job.source.architecture}: {error}{elsewhere}"
            ) from error
        return Converted(options={"special_tokens": special, "compute_type": compute}, packages=self.packages)


converter = Ct2Converter()
