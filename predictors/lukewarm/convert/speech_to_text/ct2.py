"""Speech to text for `ct2`: CTranslate2's Whisper."""

from __future__ import annotations

from lukewarm.convert import speech_to_text
from lukewarm.convert.ct2_model import write_model
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.source import Source


class Converter:
    packages: tuple[str, ...] = ("ctranslate2", "transformers", "tokenizers", "torch")

    def check(self, source: Source, precision: str) -> None:
        speech_to_text.check(source, "ct2")

    def convert(self, job: Job) -> Converted:
        options = speech_to_text.write_common(job)
        write_model(job)
        return Converted(options=options, packages=self.packages)


converter = Converter()
