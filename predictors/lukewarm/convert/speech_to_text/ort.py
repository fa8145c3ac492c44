"""Speech to text for `ort`: encoder and decoder graphs."""

from __future__ import annotations

from typing import Any

from lukewarm.convert import speech_to_text
from lukewarm.convert.encoder_decoder import write_graphs
from lukewarm.convert.encoders import ORT_PACKAGES
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.loading import load_model
from lukewarm.convert.source import Source


class Converter:
    packages: tuple[str, ...] = ORT_PACKAGES

    def check(self, source: Source, precision: str) -> None:
        speech_to_text.check(source)

    def convert(self, job: Job) -> Converted:
        options = speech_to_text.write_common(job)
        model = load_model(job.source, "AutoModelForSpeechSeq2Seq", attn_implementation="eager")
        write_graphs(job, model, {"input_features": example(model.config)}, {})
        return Converted(options=options, packages=self.packages)


def example(config: Any) -> Any:
    """Silence of the model's length, twice: float32 [2, bands, places]."""
    import torch

    return torch.zeros(2, config.num_mel_bins, 2 * config.max_source_positions)


converter = Converter()
