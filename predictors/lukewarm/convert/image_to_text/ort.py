"""Image to text for `ort`: encoder and decoder graphs."""

from __future__ import annotations

from typing import Any

from lukewarm.convert import image_to_text
from lukewarm.convert.encoder_decoder import write_graphs
from lukewarm.convert.encoders import ORT_PACKAGES
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.loading import load_model
from lukewarm.convert.source import Source
from lukewarm.predictors.hf.media import as_encoder_decoder


class Converter:
    packages: tuple[str, ...] = ORT_PACKAGES

    def check(self, source: Source, precision: str) -> None:
        image_to_text.check(source, "ort")

    def convert(self, job: Job) -> Converted:
        options = image_to_text.write_common(job)
        model = load_model(job.source, job.source.architecture, attn_implementation="eager")
        eye = model.config.vision_config if job.source.architecture == image_to_text.BLIP else model.config.encoder
        if job.source.architecture == image_to_text.BLIP:
            model = as_encoder_decoder(model)
        write_graphs(job, model, {"pixel_values": example(eye)}, {})
        return Converted(
            options=options, packages=self.packages, max_context_tokens=image_to_text.positions(job.source)
        )


def example(config: Any) -> Any:
    """Two black images of the encoder's size: float32 [2, channels, height, width]."""
    import torch

    size = config.image_size
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    return torch.zeros(2, getattr(config, "num_channels", 3), height, width)


converter = Converter()
