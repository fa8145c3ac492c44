"""Makes `tokenizer.json` for Marian models, which come with SentencePiece files and a vocabulary of other numbers.

Source and target pieces share one numbering (`vocab.json`) but not always one model, so there can be two files: one
that reads the source, and `target_tokenizer.json` that writes the target.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lukewarm.convert.weights import read_json
from lukewarm.predictors.errors import SourceError

TARGET_FILE = "target_tokenizer.json"
_META = "▁"
_UNKNOWN_PENALTY = 10.0  # SentencePiece's price of an unknown character, below the lowest score
_BYTE = 6  # SentencePiece's type of a piece that stands for one byte
_SPECIAL = ("</s>", "<unk>", "<pad>")


def write_marian_tokenizers(root: Path, out: Path) -> list[str]:
    """Write `tokenizer.json`, and `target_tokenizer.json` if the target side differs, into `out`; returns their names.

    Raises SourceError if a SentencePiece file is missing, damaged or not a unigram model.
    """
    vocabulary = _numbering(root, "vocab.json")
    source, target = _read_model(root / "source.spm"), _read_model(root / "target.spm")
    separate = (root / "target_vocab.json").exists()
    known = {piece.piece for piece in source.pieces}
    whole = all(piece in known or _is_special(piece) for piece in vocabulary)
    _build(source, vocabulary, writes=whole).save(str(out / "tokenizer.json"))
    if not separate and whole and source == target:
        return ["tokenizer.json"]
    target_vocabulary = _numbering(root, "target_vocab.json") if separate else vocabulary
    _build(target, target_vocabulary, writes=True).save(str(out / TARGET_FILE))
    return ["tokenizer.json", TARGET_FILE]


def write_shared_tokenizer(vocabulary: Path, out: Path) -> None:
    """Write `tokenizer.json` of one SentencePiece model whose own numbers are the vocabulary (Bergamot students)."""
    proto = _read_model(vocabulary)
    numbers = {piece.piece: index for index, piece in enumerate(proto.pieces)}
    if len(numbers) != len(proto.pieces) or not {"<unk>", "</s>"} <= set(numbers):
        raise SourceError(f"{vocabulary} has a piece twice, or no <unk> or </s>")
    _build(proto, numbers, writes=True).save(str(out / "tokenizer.json"))


def _numbering(root: Path, name: str) -> dict[str, int]:
    found = read_json(root / name)
    if not found or not all(isinstance(number, int) for number in found.values()):
        raise SourceError(f"{root / name} is not a vocabulary: it should map pieces to numbers")
    if "<unk>" not in found or "</s>" not in found:
        raise SourceError(f"{root / name} has no <unk> or no </s>")
    return found


def _is_special(piece: str) -> bool:
    return piece in _SPECIAL or (piece.startswith(">>") and piece.endswith("<<"))


def _build(proto: Any, vocabulary: Mapping[str, int], *, writes: bool) -> Any:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import Unigram

    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type in (1, 4, 5)}  # normal, user, unused
    places = _places(vocabulary, scores, writes)
    bytewise = any(piece.type == _BYTE for piece in proto.pieces)
    tokenizer = Tokenizer(Unigram(places, unk_id=vocabulary["<unk>"], byte_fallback=bytewise))
    steps: list[Any] = []
    if proto.normalizer_spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap))
    if proto.normalizer_spec.remove_extra_whitespaces:
        steps += [normalizers.Strip(left=True, right=True), normalizers.Replace(Regex(" {2,}"), " ")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    scheme = "always" if proto.normalizer_spec.add_dummy_prefix else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_META, prepend_scheme=scheme, split=False)
    writer = decoders.Metaspace(replacement=_META, prepend_scheme=scheme, split=False)
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), writer]) if bytewise else writer
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", vocabulary["</s>"])]
    )
    special = sorted(piece for piece in vocabulary if _is_special(piece))
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    return tokenizer


def _read_model(path: Path) -> Any:
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except FileNotFoundError as error:
        raise SourceError(f"{path} is missing; a Marian model needs it") from error
    except DecodeError as error:
        raise SourceError(f"{path} is not a SentencePiece model: {error}") from error
    if proto.trainer_spec.model_type != 1:
        raise SourceError(f"{path} is not a SentencePiece unigram model; only those are known for Marian")
    return proto


def _places(vocabulary: Mapping[str, int], scores: Mapping[str, float], writes: bool) -> list[tuple[str, float]]:
    """The unigram table in the order of `vocabulary`; pieces of the model without a number come last.

    Those last ones keep the segmentation as the model has it; their numbers lie beyond the vocabulary and count as
    unknown (`text_to_text.Codec` maps them). Pieces of the other side stand under a name that no text has, unless this
    table `writes`: reading must not choose them. Only single characters may be: SentencePiece passes an unknown one on
    as it is, and Marian then finds it.
    """
    size = max(vocabulary.values()) + 1
    lowest = min(scores.values(), default=0.0)
    table = [(f"\U000f0000{index}", lowest) for index in range(size)]
    for piece, number in vocabulary.items():
        if piece in scores:
            table[number] = (piece, scores[piece])
        elif writes or _is_special(piece):
            table[number] = (piece, lowest - (0 if _is_special(piece) else 1e4))
        elif len(piece) == 1:
            table[number] = (piece, lowest - _UNKNOWN_PENALTY)
    return [*table, *((piece, score) for piece, score in scores.items() if piece not in vocabulary)]
