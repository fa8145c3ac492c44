"""Encoder-decoders for text, image and sound to two ONNX graphs; `predictors/ort/steps.py` says what they promise.

The encoder's graph ends in the keys and values of the decoder's cross-attention, so they are computed once a source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lukewarm.convert import onnx_graph
from lukewarm.convert.job import Job

MODEL = "model"


def write_graphs(job: Job, model: Any, inputs: dict[str, Any], lengths: dict[str, int]) -> None:
    """Write `model/encoder.onnx`, `decoder.onnx` and `weights.bin` at the job's precision.

    `inputs` are example inputs of the encoder by name (batch of 2); `lengths` names the axis that varies, by input.
    """
    job.progress(f"{job.spec.name}: exporting the encoder to ONNX", None)
    encoder, decoder = job.scratch / "encoder.onnx", job.scratch / "decoder.onnx"
    example = _export_encoder(model, inputs, lengths, encoder)
    job.progress(f"{job.spec.name}: exporting the decoder to ONNX", None)
    _export_decoder(model, example, inputs.get("attention_mask"), decoder)
    job.progress(f"{job.spec.name}: optimising the graphs", None)
    graphs = {path.stem: onnx_graph.optimise(path) for path in (encoder, decoder)}
    onnx_graph.write(graphs, job.spec.precision, job.out / MODEL)


def _export_encoder(model: Any, inputs: dict[str, Any], lengths: dict[str, int], path: Path) -> tuple[Any, ...]:
    import torch

    names = list(inputs)

    class Encoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *values: Any) -> tuple[Any, ...]:
            given = dict(zip(names, values, strict=True))
            memory = self.model.get_encoder()(**given).last_hidden_state
            # one decoder step fills the cross-attention cache; the exporter drops all of it but keys and values
            output = _run_decoder(self.model, memory, given.get("attention_mask"), _start(memory), _caches())
            return _flat(output.past_key_values.cross_attention_cache)

    batch = torch.export.Dim("batch", min=1, max=4096)
    length = torch.export.Dim("length", min=1, max=1 << 20)
    shapes = tuple({0: batch, **({lengths[name]: length} if name in lengths else {})} for name in names)
    module = Encoder().eval()
    with torch.no_grad():
        example = module(*inputs.values())
    outputs = [f"cross_{index}" for index in range(len(example))]
    onnx_graph.export(module, tuple(inputs.values()), path, (names, outputs), (shapes,))
    return tuple(example)


def _export_decoder(model: Any, cross: tuple[Any, ...], mask: Any | None, path: Path) -> None:
    import torch

    class Decoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, tokens: Any, rows: Any, mask: Any, past: Any, cross: Any) -> tuple[Any, ...]:
            caches = _caches()
            for index in range(len(past) // 2):
                chosen = (past[2 * index + side].index_select(0, rows) for side in (0, 1))
                caches.self_attention_cache.update(*chosen, index)
                caches.cross_attention_cache.update(cross[2 * index], cross[2 * index + 1], index)
                caches.is_updated[index] = True
            # the cache stands for the encoder's output: only its shape is looked at
            memory = cross[0].new_zeros(cross[0].shape[0], cross[0].shape[2], width)
            output = _run_decoder(self.model, memory, mask, tokens, caches)
            return (output.logits[:, -1], *_flat(output.past_key_values.self_attention_cache))

    width = _memory_width(model)
    count, heads, size = len(cross), cross[0].shape[1], cross[0].shape[3]
    rows = torch.export.Dim("rows", min=1, max=4096)
    place = torch.export.Dim("past", min=1, max=1 << 16)
    # the past's own batch size: rows come and go between two steps
    old = torch.export.Dim("old_rows", min=1, max=4096)
    length: dict[int, Any] = {2: torch.export.Dim("length", min=1, max=1 << 20)} if mask is not None else {}
    past = tuple(torch.randn(3, heads, 5, size) for _ in range(count))
    arguments = (torch.ones(2, 1, dtype=torch.long), torch.tensor([2, 0]), mask, past, cross)
    shapes = (
        {0: rows}, {0: rows}, None if mask is None else {0: rows, 1: length[2]},
        tuple({0: old, 2: place} for _ in range(count)), tuple({0: rows, **length} for _ in range(count)),
    )  # fmt: skip
    inputs = ["tokens", "rows", *(["attention_mask"] if mask is not None else [])]
    inputs += [f"past_{index}" for index in range(count)] + [f"cross_{index}" for index in range(count)]
    outputs = ["logits", *(f"present_{index}" for index in range(count))]
    onnx_graph.export(Decoder().eval(), arguments, path, (inputs, outputs), shapes)


def _run_decoder(model: Any, memory: Any, mask: Any | None, tokens: Any, caches: Any) -> Any:
    from transformers.modeling_outputs import BaseModelOutput

    given = {} if mask is None else {"attention_mask": mask}
    return model(
        encoder_outputs=BaseModelOutput(last_hidden_state=memory),
        decoder_input_ids=tokens,
        past_key_values=caches,
        use_cache=True,
        **given,
    )


def _start(memory: Any) -> Any:
    import torch

    return torch.zeros((memory.shape[0], 1), dtype=torch.long, device=memory.device)


def _caches() -> Any:
    from transformers.cache_utils import DynamicCache, EncoderDecoderCache

    return EncoderDecoderCache(DynamicCache(), DynamicCache())


def _flat(cache: Any) -> tuple[Any, ...]:
    return tuple(tensor for layer in cache.layers for tensor in (layer.keys, layer.values))


def _memory_width(model: Any) -> int:
    config = getattr(model.config, "encoder", None) or getattr(model.config, "vision_config", model.config)
    known = ("d_model", "hidden_size")
    return int(next(getattr(config, name) for name in known if isinstance(getattr(config, name, None), int)))
