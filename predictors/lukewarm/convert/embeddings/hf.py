"""Embeddings for `hf`: safetensors at the wanted precision in `model/`."""

from __future__ import annotations

from lukewarm.convert import embeddings, tokenizer
from lukewarm.convert.encoders import HF_PACKAGES, arguments
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.loading import save_model
from lukewarm.convert.source import Source


class Converter:
    packages: tuple[str, ...] = HF_PACKAGES

    def check(self, source: Source, precision: str) -> None:
        embeddings.check(source, "hf")

    def convert(self, job: Job) -> Converted:
        tokenizer.write(job.source, job.out)
        save_model(job, "AutoModel")
        given = arguments(job.source, "AutoModel")
        return Converted(options=embeddings.pooling_options(job.source) | {"arguments": given}, packages=self.packages)


converter = Converter()
