"""Speech to text for `hf`: safetensors at the wanted precision in `model/`."""

from __future__ import annotations

from lukewarm.convert import speech_to_text
from lukewarm.convert.encoders import HF_PACKAGES
from lukewarm.convert.image_to_text import copy_processor, generate_options
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.loading import save_model
from lukewarm.convert.source import Source


class Converter:
    packages: tuple[str, ...] = HF_PACKAGES

    def check(self, source: Source, precision: str) -> None:
        speech_to_text.check(source, "hf")

    def convert(self, job: Job) -> Converted:
        architecture = job.source.architecture
        if architecture == speech_to_text.WHISPER:
            options = speech_to_text.write_common(job)
        elif architecture in speech_to_text.CTC:
            options = speech_to_text.ctc_options(job)
        else:
            options = generate_options(job.source)
        save_model(job, architecture)
        if architecture in speech_to_text.PROCESSED:
            copy_processor(job)
        return Converted(options=options, packages=self.packages)


converter = Converter()
