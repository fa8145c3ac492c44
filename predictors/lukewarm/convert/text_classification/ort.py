"""Text classification for `ort`: one graph whose output is the logits."""

from __future__ import annotations

from lukewarm.convert import text_classification, tokenizer
from lukewarm.convert.encoders import ORT_PACKAGES, check_graph, takes_types, write_graph
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.source import Source

AUTO = "AutoModelForSequenceClassification"


class Converter:
    packages: tuple[str, ...] = ORT_PACKAGES

    def check(self, source: Source, precision: str) -> None:
        text_classification.check(source)
        check_graph(source)

    def convert(self, job: Job) -> Converted:
        tokenizer.write(job.source, job.out)
        options = text_classification.label_options(job.source)
        if types := takes_types(job.source, AUTO):
            options["token_types"] = True
        write_graph(job, AUTO, "logits", types=types)
        return Converted(options=options, packages=self.packages)


converter = Converter()
