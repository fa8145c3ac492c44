"""Text to text for `ort`: an encoder and a decoder graph by torch.onnx, with their shared weights stored once."""

from __future__ import annotations

from typing import Any

from lukewarm.convert import bergamot, bergamot_graphs, text_to_text
from lukewarm.convert.encoder_decoder import write_graphs
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.loading import load_model
from lukewarm.convert.source import Source


class Converter:
    """fp32, int8 (weight-only blocks, activations in fp32)."""

    packages: tuple[str, ...] = ("onnxruntime", "onnx", "onnxscript", "torch", "transformers", "tokenizers")

    def check(self, source: Source, precision: str) -> None:
        text_to_text.check(source, "ort", text_to_text.ORT)

    def convert(self, job: Job) -> Converted:
        options = text_to_text.write_common(job)
        if job.source.architecture == bergamot.ARCHITECTURE:
            bergamot_graphs.write_graphs(job, bergamot.load_student(job.source.root))
            return Converted(options=options, packages=self.packages)
        model = load_model(job.source, "AutoModelForSeq2SeqLM", attn_implementation="eager")
        write_graphs(job, model, example(), {"input_ids": 1, "attention_mask": 1})
        return Converted(options=options, packages=self.packages)


def example() -> dict[str, Any]:
    """Two padded sources, to trace the model with."""
    import torch

    ids = torch.full((2, 7), 3)
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    return {"input_ids": ids, "attention_mask": mask}


converter = Converter()
