"""Image to text for `hf`: safetensors at the wanted precision in `model/`."""

from __future__ import annotations

from lukewarm.convert import image_to_text
from lukewarm.convert.encoders import HF_PACKAGES
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.loading import save_model
from lukewarm.convert.source import Source


class Converter:
    packages: tuple[str, ...] = HF_PACKAGES

    def check(self, source: Source, precision: str) -> None:
        image_to_text.check(source, "hf")

    def convert(self, job: Job) -> Converted:
        save_model(job, job.source.architecture)
        if job.source.architecture in image_to_text.GRAPHS:
            return Converted(
                options=image_to_text.write_common(job),
                packages=self.packages,
                max_context_tokens=image_to_text.positions(job.source),
            )
        image_to_text.copy_processor(job)
        return Converted(
            options=image_to_text.generate_options(job.source),
            packages=self.packages,
            max_context_tokens=image_to_text.positions(job.source),
        )


converter = Converter()
