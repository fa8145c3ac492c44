"""Embeddings for `ort`: one graph whose output is the last hidden state."""

from __future__ import annotations

from lukewarm.convert import embeddings, tokenizer
from lukewarm.convert.encoders import ORT_PACKAGES, write_graph
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.source import Source


class Converter:
    packages: tuple[str, ...] = ORT_PACKAGES

    def check(self, source: Source, precision: str) -> None:
        embeddings.check(source, "ort")

    def convert(self, job: Job) -> Converted:
        tokenizer.write(job.source, job.out)
        write_graph(job, "AutoModel", "last_hidden_state")
        return Converted(options=embeddings.pooling_options(job.source), packages=self.packages)


converter = Converter()
