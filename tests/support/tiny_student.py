"""A tiny random Firefox Translations student in Marian's binary format, with a SentencePiece vocabulary."""

from __future__ import annotations

import functools
import io
import struct
from pathlib import Path
from typing import Any

from support.tiny_models import _corpus, session_root

WIDTH, FFN, HEADS, LAYERS = 32, 64, 4, 2
_SETTINGS = f"""type: transformer
dec-cell: ssru
transformer-decoder-autoreg: rnn
tied-embeddings-all: true
transformer-preprocess: ""
transformer-postprocess: dan
transformer-ffn-activation: relu
transformer-ffn-depth: 2
transformer-train-position-embeddings: false
dim-emb: {WIDTH}
transformer-heads: {HEADS}
transformer-dim-ffn: {FFN}
enc-depth: {LAYERS}
dec-depth: {LAYERS}
"""


@functools.cache
def student() -> Path:
    """The folder: `model.bin` in fp32 and `vocab.spm`, as the browser downloads them."""
    import numpy as np
    import sentencepiece

    folder = session_root() / "student"
    folder.mkdir()
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for text in _corpus()[:2] for line in text.splitlines() if line.strip()),
        model_writer=model, vocab_size=180, model_type="unigram", character_coverage=0.98, eos_id=0, unk_id=1,
        bos_id=-1, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    (folder / "vocab.spm").write_bytes(model.getvalue())
    size = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()).vocab_size()
    draw = np.random.default_rng(0)
    tensors: dict[str, Any] = {
        "Wemb": draw.normal(0, 0.3, (size, WIDTH)),
        "decoder_ff_logit_out_b": draw.normal(0, 1, (1, size)),
    }
    for side in ("encoder", "decoder"):
        for layer in range(1, LAYERS + 1):
            prefix = f"{side}_l{layer}"
            if side == "decoder":
                tensors |= {f"{prefix}_rnn_{name}": draw.normal(0, 0.3, (WIDTH, WIDTH)) for name in ("W", "Wf")}
                tensors[f"{prefix}_rnn_bf"] = draw.normal(0, 1, (1, WIDTH))
                tensors |= _norm(draw, f"{prefix}_rnn_ffn")
            attention = f"{prefix}_{'self' if side == 'encoder' else 'context'}"
            for letter in "qkvo":
                tensors[f"{attention}_W{letter}"] = draw.normal(0, 0.3, (WIDTH, WIDTH))
                tensors[f"{attention}_b{letter}"] = draw.normal(0, 0.1, (1, WIDTH))
            tensors |= _norm(draw, f"{attention}_Wo") | _norm(draw, f"{prefix}_ffn_ffn")
            for number, shape in ((1, (WIDTH, FFN)), (2, (FFN, WIDTH))):
                tensors[f"{prefix}_ffn_W{number}"] = draw.normal(0, 0.3, shape)
                tensors[f"{prefix}_ffn_b{number}"] = draw.normal(0, 0.1, (1, shape[1]))
    (folder / "model.bin").write_bytes(_marian(tensors))
    return folder


def _norm(draw: Any, prefix: str) -> dict[str, Any]:
    return {f"{prefix}_ln_scale": draw.normal(1, 0.5, (1, WIDTH)), f"{prefix}_ln_bias": draw.normal(0, 0.2, (1, WIDTH))}


def _marian(tensors: dict[str, Any]) -> bytes:
    """Marian's binary format, version 1: headers, names, shapes, padding, data."""
    entries = [(name, 0x0404, array.shape, array.astype("<f4").tobytes()) for name, array in tensors.items()]
    text = _SETTINGS.encode() + b"\0"
    entries.append(("special:model.yml", 0x0101, (len(text),), text))
    out = struct.pack("<QQ", 1, len(entries))
    for name, kind, shape, data in entries:
        out += struct.pack("<QQQQ", len(name) + 1, kind, len(shape), len(data))
    for name, *_ in entries:
        out += name.encode() + b"\0"
    for _, _, shape, _ in entries:
        out += struct.pack(f"<{len(shape)}i", *shape)
    out += struct.pack("<Q", 0)
    return out + b"".join(data for *_, data in entries)
