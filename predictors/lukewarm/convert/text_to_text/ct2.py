"""Text to text for `ct2`: CTranslate2's own converter, with our tokenizers beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lukewarm.convert import text_to_text
from lukewarm.convert.ct2_model import MODEL, TYPES, write_model
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.source import Source
from lukewarm.predictors.tokenization import TOKENIZER_FILE, Tokenizer


class Converter:
    """Runs `TransformersConverter`; refuses architectures that it has no loader for."""

    packages: tuple[str, ...] = ("ctranslate2", "transformers", "tokenizers", "torch")

    def check(self, source: Source, precision: str) -> None:
        text_to_text.check(source, "ct2", text_to_text.CT2)

    def convert(self, job: Job) -> Converted:
        options = text_to_text.write_common(job)
        write_model(job)
        if not text_to_text.is_marian(job.source):
            _set_start(job.out, options["search"]["start_ids"])
        return Converted(options=options | {"compute_type": TYPES[job.spec.precision][1]}, packages=self.packages)


def _set_start(out: Path, start_ids: Sequence[int]) -> None:
    """Let the decoder begin with the model's own token; the library guesses it from the tokenizer's class."""
    path = out / MODEL / "config.json"
    config = json.loads(path.read_text("utf-8"))
    start = Tokenizer(out / TOKENIZER_FILE).token(start_ids[0])
    if len(start_ids) == 1 and start is not None:
        config["decoder_start_token"] = start
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")


converter = Converter()
