"""Embeddings for `ct2`: CTranslate2's encoder models."""

from __future__ import annotations

from lukewarm.convert import embeddings
from lukewarm.convert.ct2_model import write_model
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.source import Source


class Converter:
    packages: tuple[str, ...] = ("ctranslate2", "transformers", "tokenizers", "torch")

    def check(self, source: Source, precision: str) -> None:
        embeddings.check(source, "ct2")

    def convert(self, job: Job) -> Converted:
        options = embeddings.write_common(job)
        write_model(job)
        return Converted(options=options, packages=self.packages)


converter = Converter()
