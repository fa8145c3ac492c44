"""Text classification for `hf`: safetensors at the wanted precision in `model/`."""

from __future__ import annotations

from lukewarm.convert import text_classification, tokenizer
from lukewarm.convert.encoders import HF_PACKAGES
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.loading import save_model
from lukewarm.convert.source import Source


class Converter:
    packages: tuple[str, ...] = HF_PACKAGES

    def check(self, source: Source, precision: str) -> None:
        text_classification.check(source)

    def convert(self, job: Job) -> Converted:
        tokenizer.write(job.source, job.out)
        save_model(job, "AutoModelForSequenceClassification")
        return Converted(options=text_classification.label_options(job.source), packages=self.packages)


converter = Converter()
