"""Text classification for `hf`: safetensors at the wanted precision in `model/`."""

from __future__ import annotations

from lukewarm.convert import text_classification, tokenizer
from lukewarm.convert.encoders import HF_PACKAGES, takes_types
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.loading import save_model
from lukewarm.convert.source import Source

AUTO = "AutoModelForSequenceClassification"


class Converter:
    packages: tuple[str, ...] = HF_PACKAGES

    def check(self, source: Source, precision: str) -> None:
        text_classification.check(source)

    def convert(self, job: Job) -> Converted:
        tokenizer.write(job.source, job.out)
        options = text_classification.label_options(job.source)
        if takes_types(job.source, AUTO):
            options["token_types"] = True
        save_model(job, AUTO)
        return Converted(options=options, packages=self.packages)


converter = Converter()
