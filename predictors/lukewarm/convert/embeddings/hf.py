"""Embeddings for `hf`: safetensors at the wanted precision in `model/`."""

from __future__ import annotations

from lukewarm.convert import embeddings
from lukewarm.convert.encoders import HF_PACKAGES, arguments
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.loading import save_model
from lukewarm.convert.source import Source


class Converter:
    packages: tuple[str, ...] = HF_PACKAGES

    def check(self, source: Source, precision: str) -> None:
        embeddings.check(source, "hf")

    def convert(self, job: Job) -> Converted:
        options = embeddings.write_common(job)
        auto_class = embeddings.auto_class(job.source)
        save_model(job, auto_class)
        more = {"arguments": arguments(job.source, auto_class), "auto_class": auto_class}
        return Converted(options=options | more, packages=self.packages)


converter = Converter()
