"""Text generation for `ct2`: CTranslate2's own converter, with the source's tokenizer beside it."""

from __future__ import annotations

from lukewarm.convert import architectures, tokenizer
from lukewarm.convert.ct2_model import MODEL, TYPES, write_model
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.source import Source
from lukewarm.predictors.errors import BundleError, UnsupportedError


class Ct2Converter:
    """Runs `TransformersConverter`; refuses architectures that it has no loader for."""

    packages: tuple[str, ...] = ("ctranslate2", "transformers", "tokenizers", "torch")

    def check(self, source: Source, precision: str) -> None:
        architectures.check_ct2(source)
        tokenizer.check(source, chat=True)

    def convert(self, job: Job) -> Converted:
        special = tokenizer.write(job.source, job.out)
        said = write_model(job)
        _check_vocabulary(job)
        options = {"special_tokens": special, "compute_type": TYPES[job.spec.precision][1]} | said
        return Converted(options=options, packages=self.packages)


def _check_vocabulary(job: Job) -> None:
    from lukewarm.predictors.ct2.text_generation import check_vocabulary
    from lukewarm.predictors.tokenization import TOKENIZER_FILE, Tokenizer

    try:
        check_vocabulary(job.out / MODEL, Tokenizer(job.out / TOKENIZER_FILE))
    except BundleError as error:
        raise UnsupportedError(f"{job.source.root} cannot be served by CTranslate2: {error}; try ort or hf") from error


converter = Ct2Converter()
