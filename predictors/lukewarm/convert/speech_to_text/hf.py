"""Speech to text for `hf`: safetensors at the wanted precision in `model/`."""

from __future__ import annotations

from lukewarm.convert import speech_to_text
from lukewarm.convert.encoders import HF_PACKAGES
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.loading import save_model
from lukewarm.convert.source import Source


class Converter:
    packages: tuple[str, ...] = HF_PACKAGES

    def check(self, source: Source, precision: str) -> None:
        speech_to_text.check(source)

    def convert(self, job: Job) -> Converted:
        options = speech_to_text.write_common(job)
        save_model(job, "AutoModelForSpeechSeq2Seq")
        return Converted(options=options, packages=self.packages)


converter = Converter()
