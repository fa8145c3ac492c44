"""Embeddings for `ort`: one graph whose output is the last hidden state."""

from __future__ import annotations

from lukewarm.convert import embeddings
from lukewarm.convert.encoders import ORT_PACKAGES, check_graph, write_graph
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.source import Source


class Converter:
    packages: tuple[str, ...] = ORT_PACKAGES

    def check(self, source: Source, precision: str) -> None:
        embeddings.check(source, "ort")
        check_graph(source)

    def convert(self, job: Job) -> Converted:
        options = embeddings.write_common(job)
        write_graph(job, embeddings.auto_class(job.source), "last_hidden_state")
        return Converted(options=options, packages=self.packages)


converter = Converter()
