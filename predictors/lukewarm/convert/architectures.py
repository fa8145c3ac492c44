"""Which architectures each backend carries for text generation: tables, so that a refusal comes before any import."""

from __future__ import annotations

import re

from lukewarm.convert.source import Source
from lukewarm.predictors.errors import SourceError, UnsupportedError
from lukewarm.predictors.tasks import TASKS

_CAUSAL = re.compile(r"(ForCausalLM|LMHeadModel|ForConditionalGeneration)\Z")
# conditional generation, but from an encoder's output
_SEQUENCE_TO_SEQUENCE = re.compile(r"\A(T5|MT5|UMT5|Bart|MBart|Pegasus|Marian|M2M100|Whisper|Blenderbot|Led|Speech)")
_OTHER_TASKS = (
    (re.compile(r"ForSequenceClassification\Z"), "text-classification"),
    (re.compile(r"(ForCausalLM|LMHeadModel)\Z"), "text-generation"),
    (re.compile(r"Whisper|Speech|ForCTC\Z"), "speech-to-text"),
    (re.compile(r"VisionEncoderDecoder|Blip|Git"), "image-to-text"),
    (re.compile(r"(Model|ForMaskedLM)\Z"), "embeddings"),
)
_LAYER_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
# classes with a loader in ctranslate2.converters.transformers that generate text
CT2 = frozenset(
    {
        "BloomForCausalLM", "CodeGenForCausalLM", "FalconForCausalLM", "GPT2LMHeadModel", "GPTBigCodeForCausalLM",
        "GPTJForCausalLM", "GPTNeoXForCausalLM", "Gemma2ForCausalLM", "Gemma3ForCausalLM", "Gemma4ForCausalLM",
        "GemmaForCausalLM", "LlamaForCausalLM", "MPTForCausalLM", "MistralForCausalLM", "OPTForCausalLM",
        "Phi3ForCausalLM", "PhiForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM", "RWForCausalLM",
    }
)  # fmt: skip
# classes that onnxruntime-genai's model builder writes a text graph for
GENAI = frozenset(
    {
        "Ernie4_5ForCausalLM", "Gemma2ForCausalLM", "Gemma3ForCausalLM", "GemmaForCausalLM", "GraniteForCausalLM",
        "HunYuanDenseV1ForCausalLM", "LlamaForCausalLM", "MistralForCausalLM", "NemotronForCausalLM",
        "Phi3ForCausalLM", "PhiForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM",
        "SmolLM3ForCausalLM",
    }
)  # fmt: skip


# model types that were seen to have no graph: experts chosen per token, states for keys, attention of their own kind
NO_GRAPH = frozenset(
    {
        "afmoe", "bailing_hybrid", "bloom", "deepseek_v2", "deepseek_v4", "falcon_mamba", "gpt_oss", "mamba", "mixtral",
        "mpt", "olmo_hybrid", "qwen2_moe", "qwen3_5_text", "qwen3_moe", "qwen3_next", "xglm",
    }
)  # fmt: skip


def check_causal(source: Source, backend: str) -> None:
    """Raise UnsupportedError unless the source is a decoder language model without code of its own."""
    name = source.architecture
    if not _CAUSAL.search(name) or _SEQUENCE_TO_SEQUENCE.match(name) or _reads_first(name):
        raise UnsupportedError(f"{name} is not a text-generation model{task_hint(name)}")
    if "auto_map" in source.config and source.config.get("model_type") in (None, ""):
        raise UnsupportedError(f"{source.root} brings its own code, which is never run; backend {backend!r} needs a "
                               "model that transformers knows")  # fmt: skip
    if "quantization_config" in source.config:
        settings = source.config["quantization_config"]
        method = settings.get("quant_method", "unknown") if isinstance(settings, dict) else "unknown"
        raise UnsupportedError(
            f"{source.root} is quantized already ({method}); convert from the original weights instead"
        )
    check_sizes(source)


def task_hint(name: str) -> str:
    """Which task an architecture is for, as the end of a refusal; all tasks where it is for none of them."""
    if _reads_first(name):
        return "; set task: text-to-text"
    if task := next((task for pattern, task in _OTHER_TASKS if pattern.search(name)), None):
        return f"; set task: {task}"
    tasks = ", ".join(task for task in TASKS if task != "custom")
    return f", and for no task here ({tasks}); serve it with your own predictor class (predictor: module:Class)"


def _reads_first(name: str) -> bool:
    from lukewarm.convert import text_to_text

    return name in text_to_text.ARCHITECTURES


def check_sizes(source: Source) -> None:
    """Raise SourceError where config.json promises more than the weights hold; building such a model may never end."""
    place, tensors = source.root / "config.json", source.tensors
    layers = next((n for key in _LAYER_KEYS if isinstance(n := source.text_config.get(key), int)), 0)
    if layers > max(len(tensors), 1000):  # a model may use one layer several times
        raise SourceError(f"{place} says {layers} layers, the weights are {len(tensors)} tensors in all")
    if (source.max_context_tokens or 2) < 2:
        raise SourceError(
            f"{place} gives the model room for {source.max_context_tokens} token; it cannot answer anything"
        )
    rows = max((size for tensor in tensors.values() for size in tensor.shape), default=0)
    if (source.vocab_size or 0) > rows:
        raise SourceError(f"{place} says vocab_size {source.vocab_size}, the longest side of any weight is {rows}")


def check_ct2(source: Source) -> None:
    """Raise UnsupportedError unless CTranslate2 has a loader for this decoder."""
    check_causal(source, "ct2")
    if source.architecture not in CT2:
        raise UnsupportedError(
            f"CTranslate2 has no loader for {source.architecture}{others(source, 'ct2')} (it has: "
            f"{', '.join(sorted(CT2))})"
        )


def others(source: Source, backend: str) -> str:
    """Where to go when a backend refuses this decoder, as the end of a sentence."""
    unable = {backend}
    if source.architecture not in CT2:
        unable.add("ct2")
    if source.config.get("model_type") in NO_GRAPH:
        unable.add("ort")
    able = [name for name in ("ort", "ct2", "hf") if name not in unable]
    return f"; try backend {' or '.join(able)}"
