"""Text to text for `ct2`: CTranslate2's own converter, with our tokenizers beside it."""

from __future__ import annotations

from lukewarm.convert import text_to_text
from lukewarm.convert.ct2_model import TYPES, write_model
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.source import Source


class Converter:
    """Runs `TransformersConverter`; refuses architectures that it has no loader for."""

    packages: tuple[str, ...] = ("ctranslate2", "transformers", "tokenizers", "torch")

    def check(self, source: Source, precision: str) -> None:
        text_to_text.check(source, "ct2", text_to_text.CT2)

    def convert(self, job: Job) -> Converted:
        options = text_to_text.write_common(job)
        write_model(job)
        return Converted(options=options | {"compute_type": TYPES[job.spec.precision][1]}, packages=self.packages)


converter = Converter()
