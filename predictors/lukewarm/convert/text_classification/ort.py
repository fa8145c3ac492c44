"""Text classification for `ort`: one graph whose output is the logits."""

from __future__ import annotations

from lukewarm.convert import text_classification, tokenizer
from lukewarm.convert.encoders import ORT_PACKAGES, write_graph
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.source import Source


class Converter:
    packages: tuple[str, ...] = ORT_PACKAGES

    def check(self, source: Source, precision: str) -> None:
        text_classification.check(source)

    def convert(self, job: Job) -> Converted:
        tokenizer.write(job.source, job.out)
        write_graph(job, "AutoModelForSequenceClassification", "logits")
        return Converted(options=text_classification.label_options(job.source), packages=self.packages)


converter = Converter()
