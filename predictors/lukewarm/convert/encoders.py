"""What converters of encoders share: which class loads them, the tokenizer, and the ONNX graph."""

from __future__ import annotations

import inspect
from typing import Any

from lukewarm.convert import frameworks, onnx_graph, tokenizer
from lukewarm.convert.job import Job
from lukewarm.convert.loading import load_model
from lukewarm.convert.source import Source
from lukewarm.convert.weights import read_json
from lukewarm.predictors.errors import UnsupportedError

MODEL = "model"
ORT_PACKAGES = ("onnxruntime", "onnx", "onnxscript", "torch", "transformers", "tokenizers")
NO_GRAPH = frozenset({"xlnet"})  # model types that torch.onnx cannot export
HF_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors")


def check_common(source: Source) -> None:
    """Refuse quantized sources, foreign code and missing tokenizers. Imports nothing heavy."""
    if "quantization_config" in source.config:
        raise UnsupportedError(f"{source.root} is quantized already; convert from the original weights instead")
    tokenizer.check(source)


def check_graph(source: Source) -> None:
    """Refuse what is known to have no graph, before anything heavy is imported."""
    if source.config.get("model_type") in NO_GRAPH:
        raise UnsupportedError(f"torch.onnx cannot export {source.architecture}; this can: hf")


def length_options(source: Source) -> dict[str, Any]:
    """`options.max_tokens` from sentence_bert_config.json or the tokenizer's own limit, if there is one."""
    limits = []
    for name, key in (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        path = source.root / name
        value = read_json(path).get(key) if path.is_file() else None
        if isinstance(value, int) and 0 < value < 1_000_000:
            limits.append(value)
    positions = source.max_context_tokens
    if positions and str(source.config.get("model_type")) in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        limits.append(positions - 2)  # their positions start behind the padding's
    return {"max_tokens": min(limits)} if limits else {}


def arguments(source: Source, auto_class: str) -> dict[str, Any]:
    """Arguments of `from_pretrained` that leave out what is never used and often not stored: BERT's pooler."""
    if auto_class != "AutoModel":
        return {}
    library = frameworks.transformers()
    config = frameworks.configuration(source)
    try:
        accepted = inspect.signature(library.AutoModel._model_mapping[type(config)].__init__).parameters
    except KeyError as error:
        raise UnsupportedError(f"transformers has no encoder class for {source.architecture}") from error
    return {"add_pooling_layer": False} if "add_pooling_layer" in accepted else {}


def takes_types(source: Source, auto_class: str) -> bool:
    """Whether tokenizer and model both have token types: which of two texts a token belongs to."""
    library = frameworks.transformers()
    config = frameworks.configuration(source)
    try:
        model = getattr(library, auto_class)._model_mapping[type(config)]
    except KeyError as error:
        raise UnsupportedError(f"transformers has no class for {source.architecture}") from error
    accepted = inspect.signature(model.forward).parameters
    if getattr(config, "type_vocab_size", 2) < 2:
        return False
    return "token_type_ids" in accepted and "token_type_ids" in tokenizer.load(source).model_input_names


def write_graph(job: Job, auto_class: str, output: str, *, types: bool = False) -> None:
    """Write `model/encoder.onnx`: input_ids and attention_mask int64 [batch, length] -> the model's field `output`.

    `types`: the graph takes token_type_ids too.
    """
    model = load_model(job.source, auto_class, attn_implementation="eager", **arguments(job.source, auto_class))
    job.progress(f"{job.spec.name}: exporting to ONNX", None)
    path = job.scratch / "encoder.onnx"
    _export(model, output, path, types)
    job.progress(f"{job.spec.name}: optimising the graph", None)
    onnx_graph.write({"encoder": onnx_graph.optimise(path)}, job.spec.precision, job.out / MODEL)


def _export(model: Any, output: str, path: Any, types: bool) -> None:
    import torch

    names = ["input_ids", "attention_mask", *(["token_type_ids"] if types else [])]

    class Encoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *given: Any) -> Any:
            return getattr(self.model(**dict(zip(names, given, strict=True))), output)

    # tokens that are no padding: some models count their positions by it
    ids = torch.full((2, 7), _ordinary_token(model))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    second = torch.zeros_like(ids)
    second[:, 3:] = 1
    batch = torch.export.Dim("batch", min=1, max=4096)
    length = torch.export.Dim("length", min=1, max=1 << 20)
    shapes = (tuple({0: batch, 1: length} for _ in names),)
    onnx_graph.export(Encoder().eval(), (ids, mask, second)[: len(names)], path, (names, [output]), shapes)


def _ordinary_token(model: Any) -> int:
    taken = {model.config.get_text_config().pad_token_id}
    return next(token for token in (3, 4) if token not in taken)
