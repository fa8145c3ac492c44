"""Writes a bundle's tokenizer: `tokenizer.json`, for the tokenizers library alone, and the chat template."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lukewarm.convert.source import Source
from lukewarm.convert.weights import read_json
from lukewarm.predictors.chat_template import compile_template
from lukewarm.predictors.errors import BundleError, SourceError, UnsupportedError
from lukewarm.predictors.tokenization import TOKENIZER_FILE, compact

TEMPLATE = "chat_template.jinja"
_FILES = (
    TOKENIZER_FILE,
    "vocab.json",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "source.spm",
    "sentencepiece.bpe.model",
    "spm.model",
)


_SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "spm.model")
_TEXTS = ("the model answers", "one, two.", "a cold start")
_LLAMA = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True}
_CLASSES = {
    "t5": "T5Tokenizer", "mt5": "T5Tokenizer", "umt5": "T5Tokenizer", "mbart": "MBartTokenizer",
    "xlm": "XLMRobertaTokenizer", "albert": "AlbertTokenizer", "gemma": "GemmaTokenizer",
    "camembert": "CamembertTokenizer", "xlnet": "XLNetTokenizer", "pegasus": "PegasusTokenizer",
}  # fmt: skip


def check(source: Source, *, chat: bool = False) -> None:
    """Refuse a source without a tokenizer, or with one that cannot belong to it. Imports nothing heavy.

    `chat`: refuse one whose chat template is no template, too.
    """
    present = [name for name in _FILES if (source.root / name).is_file()]
    if not present:
        raise SourceError(f"{source.root} has no tokenizer (tokenizer.json, or the model's vocabulary files)")
    if (source.root / TOKENIZER_FILE).is_file():
        check_size(read_json(source.root / TOKENIZER_FILE), source)
    if chat and (template := chat_template(source.root)):
        try:
            compile_template(template)
        except BundleError as error:
            raise SourceError(
                f"{source.root}: the chat template cannot be read{_line(error.__cause__)}: {error.__cause__}; "
                "mend it, or take it out: the model then takes prompts only"
            ) from error


def _line(error: BaseException | None) -> str:
    line = getattr(error, "lineno", None)
    return "" if line is None else f", line {line}"


def check_size(tokenizer: Mapping[str, Any], source: Source) -> None:
    """Raise SourceError if the vocabulary is larger than the model's: it belongs to another one."""
    rows = source.vocab_size
    try:
        vocab = tokenizer["model"]["vocab"]
        # added tokens may lie beyond (a padding token that no prompt names); the runtime refuses those one by one
        largest = max(vocab.values()) if isinstance(vocab, dict) else len(vocab) - 1
        if not isinstance(largest, int) or largest < 0:
            raise ValueError("its vocabulary is empty or has no numbers")
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"{source.root / TOKENIZER_FILE} is not a tokenizer: {error!r}") from error
    if rows is not None and largest >= rows:
        raise SourceError(
            f"the tokenizer of {source.root} does not match the model: it gives token {largest}, "
            f"the embedding has {rows} rows"
        )


def write(source: Source, out: Path) -> dict[str, Any]:
    """Write tokenizer.json (exactly what transformers would use) and the template; returns the special tokens by role.

    Raises SourceError if transformers cannot read the tokenizer, UnsupportedError if it has no fast form.
    """
    tokenizer = load(source)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UnsupportedError(
            f"the tokenizer of {source.root} ({type(tokenizer).__name__}) has no tokenizer.json form; "
            "serve it with your own predictor class (predictor: module:Class)"
        )
    check_pieces(source, tokenizer)
    text = backend.to_str()
    check_size(json.loads(text), source)
    (out / TOKENIZER_FILE).write_bytes(compact(text.encode()))
    if template := chat_template(source.root):
        (out / TEMPLATE).write_text(template, "utf-8")
    roles = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")
    return {role: str(token) for role in roles if (token := getattr(tokenizer, role, None)) is not None}


def load(source: Source) -> Any:
    """The source's tokenizer through transformers, without remote code."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source.root, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises whatever its readers raise
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        if not any((source.root / name).is_file() for name in (TOKENIZER_FILE, "tokenizer_config.json")):
            reason = "add tokenizer.json, or the tokenizer_config.json that names the tokenizer_class of its vocabulary"
        raise SourceError(f"transformers cannot read the tokenizer of {source.root}: {reason}") from error


def check_pieces(source: Source, tokenizer: Any) -> None:
    """Refuse a tokenizer that transformers made of a SentencePiece file and that cuts texts otherwise than the file.

    It does so where nothing names the tokenizer's class: it then guesses one, without a warning.
    """
    path = next((path for name in _SENTENCEPIECE if (path := source.root / name).is_file()), None)
    if path is None or (source.root / TOKENIZER_FILE).is_file():
        return
    from sentencepiece import SentencePieceProcessor

    try:
        model = SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise SourceError(f"{path} is not a SentencePiece model; download it again") from error
    for text in _TEXTS:
        wanted = [model.id_to_piece(number) for number in model.encode(text)]
        found = tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False).input_ids)
        if found != wanted and "<unk>" not in wanted:
            raise SourceError(
                f"{source.root} has {path.name} and no {TOKENIZER_FILE}; transformers reads it as "
                f"{type(tokenizer).__name__}, which cuts {text!r} into {found[:4]}, the file itself into {wanted[:4]}; "
                f"get tokenizer.json{_class_hint(source)}"
            )


def _class_hint(source: Source) -> str:
    """What to write where nothing names the class."""
    path = source.root / "tokenizer_config.json"
    if path.is_file() and read_json(path).get("tokenizer_class"):
        return ", as the tokenizer's makers saved it"
    kind = str(source.config.get("model_type", "")).split("_")[0].split("-")[0]
    named = {"tokenizer_class": _CLASSES[kind]} if kind in _CLASSES else _LLAMA
    return f", or name the model's class in tokenizer_config.json, as in {json.dumps(named)}"


def chat_template(root: Path) -> str | None:
    """The default chat template, from any of the three places where models keep it."""
    if (root / TEMPLATE).is_file():
        return (root / TEMPLATE).read_text("utf-8")
    for name in ("chat_template.json", "tokenizer_config.json"):
        value = read_json(root / name).get("chat_template") if (root / name).is_file() else None
        if isinstance(value, list):
            named = {entry.get("name"): entry.get("template") for entry in value if isinstance(entry, dict)}
            value = named.get("default")
        if isinstance(value, str):
            return value
    return None
