"""Makes `tokenizer.json` for Marian models, which come with SentencePiece files and a vocabulary of other numbers.

Source and target pieces share one numbering (`vocab.json`) but not always one model, so there can be two files: one
that reads the source, and `target_tokenizer.json` that writes the target.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lukewarm.convert.weights import read_json
from lukewarm.predictors.errors import SourceError

UNREACHABLE = -1e6  # score of a place in the numbering that this side's model does not know
TARGET_FILE = "target_tokenizer.json"
_META = "▁"


def write_marian_tokenizers(root: Path, out: Path) -> list[str]:
    """Write `tokenizer.json`, and `target_tokenizer.json` if the target side differs, into `out`; returns their names.

    Raises SourceError if a SentencePiece file is missing, damaged or not a unigram model.
    """
    vocabulary = _numbering(root, "vocab.json")
    source, target = root / "source.spm", root / "target.spm"
    _build(source, vocabulary).save(str(out / "tokenizer.json"))
    separate = (root / "target_vocab.json").exists()
    if not separate and source.read_bytes() == target.read_bytes():
        return ["tokenizer.json"]
    target_vocabulary = _numbering(root, "target_vocab.json") if separate else vocabulary
    _build(target, target_vocabulary).save(str(out / TARGET_FILE))
    return ["tokenizer.json", TARGET_FILE]


def _numbering(root: Path, name: str) -> dict[str, int]:
    found = read_json(root / name)
    if not found or not all(isinstance(number, int) for number in found.values()):
        raise SourceError(f"{root / name} is not a vocabulary: it should map pieces to numbers")
    if "<unk>" not in found or "</s>" not in found:
        raise SourceError(f"{root / name} has no <unk> or no </s>")
    return found


def _build(model_file: Path, vocabulary: Mapping[str, int]) -> Any:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import Unigram

    proto = _read_model(model_file)
    if proto.trainer_spec.model_type != 1:
        raise SourceError(f"{model_file} is not a SentencePiece unigram model; only those are known for Marian")
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type in (1, 4, 5)}  # normal, user, unused
    places = _places(vocabulary, scores)
    tokenizer = Tokenizer(Unigram(places, unk_id=vocabulary["<unk>"], byte_fallback=False))
    steps: list[Any] = []
    if proto.normalizer_spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap))
    if proto.normalizer_spec.remove_extra_whitespaces:
        steps += [normalizers.Strip(left=True, right=True), normalizers.Replace(Regex(" {2,}"), " ")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    scheme = "always" if proto.normalizer_spec.add_dummy_prefix else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_META, prepend_scheme=scheme, split=False)
    tokenizer.decoder = decoders.Metaspace(replacement=_META, prepend_scheme=scheme, split=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", vocabulary["</s>"])]
    )
    languages = sorted(piece for piece in vocabulary if piece.startswith(">>") and piece.endswith("<<"))
    special = [name for name in ("</s>", "<unk>", "<pad>") if name in vocabulary]
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in [*special, *languages]])
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
    return proto


def _places(vocabulary: Mapping[str, int], scores: Mapping[str, float]) -> Sequence[tuple[str, float]]:
    """The unigram table in the order of `vocabulary`; pieces of the model without a number come last.

    Those last ones keep the segmentation as the model has it; their numbers lie beyond the vocabulary and count as
    unknown (`Codec` maps them).
    """
    size = max(vocabulary.values()) + 1
    table: list[tuple[str, float]] = [(f"<unused {index}>", UNREACHABLE) for index in range(size)]
    lowest = min(scores.values(), default=0.0)
    for piece, number in vocabulary.items():
        table[number] = (piece, scores.get(piece, UNREACHABLE))
    # the unknown token's own score is never used, but the table's lowest score sets the price of unknown characters
    table = [(piece, max(score, lowest - 1e4)) for piece, score in table]
    return [*table, *((piece, score) for piece, score in scores.items() if piece not in vocabulary)]


def vocabulary_of(path: Path) -> dict[str, int]:
    """The numbering inside a `tokenizer.json` that this module wrote."""
    model = json.loads(path.read_text("utf-8"))["model"]
    return {piece: index for index, (piece, _) in enumerate(model["vocab"])}
