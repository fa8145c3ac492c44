"""Speech to text for `ort`: encoder and decoder graphs."""

from __future__ import annotations

from typing import Any

from lukewarm.convert import onnx_graph, speech_to_text
from lukewarm.convert.encoder_decoder import write_graphs
from lukewarm.convert.encoders import ORT_PACKAGES
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.loading import load_model
from lukewarm.convert.source import Source


class Converter:
    packages: tuple[str, ...] = ORT_PACKAGES

    def check(self, source: Source, precision: str) -> None:
        speech_to_text.check(source, "ort")

    def convert(self, job: Job) -> Converted:
        if job.source.architecture in speech_to_text.CTC:
            return self._ctc(job)
        options = speech_to_text.write_common(job)
        model = load_model(job.source, "AutoModelForSpeechSeq2Seq", attn_implementation="eager")
        write_graphs(job, model, {"input_features": example(model.config)}, {})
        return Converted(options=options, packages=self.packages)

    def _ctc(self, job: Job) -> Converted:
        import torch

        options = speech_to_text.ctc_options(job)
        model = load_model(job.source, "AutoModelForCTC", attn_implementation="eager")
        job.progress(f"{job.spec.name}: exporting to ONNX", None)

        class Letters(torch.nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, input_values: Any) -> Any:
                return self.model(input_values=input_values).logits

        path, longest = job.scratch / "encoder.onnx", options["ctc"]["rate"] * 60
        shapes = ({0: torch.export.Dim("batch", min=1, max=4096),
                   1: torch.export.Dim("samples", min=options["ctc"]["shortest"], max=longest)},)  # fmt: skip
        sound = torch.randn(2, options["ctc"]["rate"])
        onnx_graph.export(Letters().eval(), (sound,), path, (["input_values"], ["logits"]), shapes)
        job.progress(f"{job.spec.name}: optimising the graph", None)
        onnx_graph.write({"encoder": onnx_graph.optimise(path)}, job.spec.precision, job.out / "model")
        return Converted(options=options, packages=self.packages)


def example(config: Any) -> Any:
    """Silence of the model's length, twice: float32 [2, bands, places]."""
    import torch

    return torch.zeros(2, config.num_mel_bins, 2 * config.max_source_positions)


converter = Converter()
