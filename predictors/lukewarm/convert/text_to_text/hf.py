"""Text to text for `hf`: safetensors at the wanted precision in `model/`."""

from __future__ import annotations

from lukewarm.convert.job import Converted, Job
from lukewarm.convert.loading import save_model
from lukewarm.convert.source import Source
from lukewarm.convert.text_to_text import check, write_common


class Converter:
    """Links the source's files when they are at the precision already, else saves them anew."""

    packages: tuple[str, ...] = ("torch", "transformers", "tokenizers", "safetensors")

    def check(self, source: Source, precision: str) -> None:
        check(source, "hf")

    def convert(self, job: Job) -> Converted:
        options = write_common(job)
        save_model(job, "AutoModelForSeq2SeqLM")
        return Converted(options=options, packages=self.packages)


converter = Converter()
