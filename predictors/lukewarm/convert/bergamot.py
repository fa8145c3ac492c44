"""Reads a Firefox Translations (Bergamot) student and computes it exactly: Marian's binary file, SSRU decoder, in fp32.

Format and architecture: github.com/marian-nmt/marian-dev (binary.cpp, transformer.h).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lukewarm.predictors.errors import SourceError, UnsupportedError

ARCHITECTURE = "BergamotStudent"  # our name: its files have no config.json
END = 0  # the number of </s>
_MAX_TOKENS = 1024
_FLOAT32, _INT8_PACKED = 0x0404, 0x4101
_SETTINGS = "special:model.yml"


@dataclass(frozen=True)
class Settings:
    """The shape of a student, from the YAML text inside its model file."""

    width: int
    heads: int
    ffn: int
    encoder_layers: int
    decoder_layers: int


@dataclass(frozen=True)
class Student:
    """fp32 weights by Marian's names, as torch tensors; matrices are [in, out], `Wemb` is [vocabulary, width]."""

    settings: Settings
    weights: dict[str, Any]
    vocabulary: Path  # a SentencePiece model

    @property
    def vocab_size(self) -> int:
        return int(self.weights["Wemb"].shape[0])


def is_student(directory: Path) -> bool:
    """Whether a folder looks like a student of Firefox Translations; its files may still be wrong."""
    return any(directory.glob("model*.bin")) and any(directory.glob("vocab*.spm"))


def config(directory: Path) -> dict[str, Any]:
    """What a config.json would say. Raises SourceError, UnsupportedError."""
    model, _ = find_files(directory)
    tensors = read_tensors(model)
    _settings(model, tensors)
    if "Wemb" not in tensors:
        raise SourceError(f"{model} has no embedding (Wemb)")
    return {
        "architectures": [ARCHITECTURE], "is_encoder_decoder": True, "vocab_size": tensors["Wemb"][1][0],
        "eos_token_id": END, "pad_token_id": END, "decoder_start_token_id": END,
        "max_position_embeddings": _MAX_TOKENS,
    }  # fmt: skip


def find_files(directory: Path) -> tuple[Path, Path]:
    """The model and vocabulary of a student directory. Raises SourceError."""
    models = sorted(directory.glob("model*.bin"))
    vocabularies = sorted(directory.glob("vocab*.spm"))
    if len(models) != 1 or len(vocabularies) != 1:
        raise SourceError(
            f"{directory} is not a Bergamot student with one shared vocabulary: "
            f"it holds {len(models)} model*.bin and {len(vocabularies)} vocab*.spm"
        )
    return models[0], vocabularies[0]


def load_student(directory: Path) -> Student:
    """Read and dequantize a student. Raises SourceError (damaged), UnsupportedError (another architecture)."""
    import torch

    model, vocabulary = find_files(directory)
    tensors = read_tensors(model)
    settings = _settings(model, tensors)
    weights = {
        name: torch.from_numpy(_dequantize(model, name, *tensors[name]))
        for name in tensors
        if "QuantMult" not in name and not name.startswith("special:")
    }
    if damaged := next((name for name, tensor in weights.items() if not bool(tensor.isfinite().all())), None):
        raise SourceError(f"{model}: {damaged} holds values that are not numbers; the weights are damaged")
    return Student(settings, weights, vocabulary)


def read_tensors(path: Path) -> dict[str, tuple[int, tuple[int, ...], bytes]]:
    """Every tensor of a Marian binary file: name -> (type code, shape, bytes). Raises SourceError."""
    blob = path.read_bytes()
    try:
        version, count = struct.unpack_from("<QQ", blob, 0)
        if version != 1 or count > 100_000:
            raise SourceError(f"{path} is not a Marian binary model of version 1")
        at = 16
        headers = [struct.unpack_from("<QQQQ", blob, at + 32 * index) for index in range(count)]
        at += 32 * count
        names = []
        for name_bytes, *_ in headers:
            names.append(blob[at : at + name_bytes - 1].decode())
            at += name_bytes
        shapes = []
        for _, _, rank, _ in headers:
            shapes.append(struct.unpack_from(f"<{rank}i", blob, at))
            at += 4 * rank
        at += 8 + struct.unpack_from("<Q", blob, at)[0]  # padding up to the first tensor
        tensors = {}
        for (_, kind, _, size), name, shape in zip(headers, names, shapes, strict=True):
            if at + size > len(blob):
                raise SourceError(f"{path} is truncated in {name}")
            tensors[name] = (kind, shape, blob[at : at + size])
            at += size
    except (struct.error, UnicodeDecodeError) as error:
        raise SourceError(f"{path} is not a Marian binary model, or is damaged: {error}") from error
    return tensors


def _settings(path: Path, tensors: dict[str, tuple[int, tuple[int, ...], bytes]]) -> Settings:
    if _SETTINGS not in tensors:
        raise SourceError(f"{path} holds no {_SETTINGS}")
    text = tensors[_SETTINGS][2].split(b"\0")[0].decode(errors="replace")
    found = yaml.safe_load(text)
    wanted = {
        "type": "transformer", "dec-cell": "ssru", "transformer-decoder-autoreg": "rnn", "tied-embeddings-all": True,
        "transformer-preprocess": "", "transformer-postprocess": "dan", "transformer-ffn-activation": "relu",
        "transformer-ffn-depth": 2, "transformer-train-position-embeddings": False,
    }  # fmt: skip
    for key, value in wanted.items():
        if found.get(key) != value:
            raise UnsupportedError(f"{path}: {key} is {found.get(key)!r}; only {value!r} is known")
    return Settings(
        width=found["dim-emb"], heads=found["transformer-heads"], ffn=found["transformer-dim-ffn"],
        encoder_layers=found["enc-depth"], decoder_layers=found["dec-depth"],
    )  # fmt: skip


def _dequantize(path: Path, name: str, kind: int, shape: tuple[int, ...], data: bytes) -> Any:
    import numpy as np

    count = int(np.prod(shape))
    if kind == _FLOAT32:
        return np.frombuffer(data, "<f4", count).reshape(shape).copy()
    if kind != _INT8_PACKED:
        raise UnsupportedError(f"{path}: {name} has type {kind:#x}; only fp32 and 8-bit intgemm are known")
    values = np.frombuffer(data, "i1", count).astype("f4")
    values /= np.frombuffer(data, "<f4", 1, offset=count)[0]  # the multiplier stands behind the integers
    # intgemm keeps a matrix transposed; the embedding table is not one
    matrix = values.reshape(shape) if name == "Wemb" else values.reshape(shape[1], shape[0]).T
    return np.ascontiguousarray(matrix)


def positions(length: int, width: int) -> Any:
    """Marian's sinusoids: all sines, then all cosines; float32 [length, width]."""
    import torch

    half = width // 2
    rates = torch.pow(10000.0, -torch.arange(half, dtype=torch.float64) * 2 / width)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1).float()


class Layers:
    """The student's arithmetic on torch tensors; no state but the weights: can be exported and trained through."""

    def __init__(self, settings: Settings, weights: dict[str, Any]) -> None:
        self.settings = settings
        self.weights = weights

    def encode(self, ids: Any, mask: Any, place: Any) -> Any:
        """ids int64[batch, source] -> float32[batch, source, width]. `mask` is additive, [batch, 1, 1, source]."""
        x = self.embed(ids) + place[: ids.shape[1]]
        for layer in range(1, self.settings.encoder_layers + 1):
            prefix = f"encoder_l{layer}_self"
            x = self.attention(x, self.keys_values(x, prefix), prefix, mask)
            x = self.feed_forward(x, f"encoder_l{layer}_ffn")
        return x

    def embed(self, ids: Any) -> Any:
        import torch

        return torch.nn.functional.embedding(ids, self.weights["Wemb"]) * float(self.settings.width) ** 0.5

    def gates(self, x: Any, layer: int) -> tuple[Any, Any]:
        """The forget gate and the gated candidate of one SSRU block: the state is `c = gate * c + candidate`."""
        prefix = f"decoder_l{layer}_rnn"
        gate = (x @ self.weights[f"{prefix}_Wf"] + self.weights[f"{prefix}_bf"]).sigmoid()
        return gate, (1 - gate) * (x @ self.weights[f"{prefix}_W"])

    def after_state(self, state: Any, x: Any, layer: int) -> Any:
        return self.norm(state.relu() + x, f"decoder_l{layer}_rnn_ffn")

    def after_block(self, x: Any, memory: tuple[Any, Any], mask: Any, layer: int) -> Any:
        """Cross-attention over projected memory and feed-forward of one decoder layer."""
        x = self.attention(x, memory, f"decoder_l{layer}_context", mask)
        return self.feed_forward(x, f"decoder_l{layer}_ffn")

    def project_memory(self, memory: Any) -> list[tuple[Any, Any]]:
        """Keys and values of every decoder layer's cross-attention: computed once a sentence."""
        layers = range(1, self.settings.decoder_layers + 1)
        return [self.keys_values(memory, f"decoder_l{layer}_context") for layer in layers]

    def keys_values(self, memory: Any, prefix: str) -> tuple[Any, Any]:
        return self._heads(memory, prefix, "k"), self._heads(memory, prefix, "v")

    def attention(self, query: Any, memory: tuple[Any, Any], prefix: str, mask: Any) -> Any:
        keys, values = memory
        scores = self._heads(query, prefix, "q") @ keys.transpose(-1, -2)
        mixed = (scores / keys.shape[-1] ** 0.5 + mask).softmax(-1) @ values
        mixed = mixed.transpose(1, 2).reshape(query.shape)
        out = mixed @ self.weights[f"{prefix}_Wo"] + self.weights[f"{prefix}_bo"]
        return self.norm(out + query, f"{prefix}_Wo")

    def _heads(self, x: Any, prefix: str, letter: str) -> Any:
        x = x @ self.weights[f"{prefix}_W{letter}"] + self.weights[f"{prefix}_b{letter}"]
        heads, width = self.settings.heads, self.settings.width
        return x.view(x.shape[0], x.shape[1], heads, width // heads).transpose(1, 2)

    def feed_forward(self, x: Any, prefix: str) -> Any:
        hidden = (x @ self.weights[f"{prefix}_W1"] + self.weights[f"{prefix}_b1"]).relu()
        return self.norm(x + hidden @ self.weights[f"{prefix}_W2"] + self.weights[f"{prefix}_b2"], f"{prefix}_ffn")

    def norm(self, x: Any, prefix: str) -> Any:
        import torch

        scale, bias = self.weights[f"{prefix}_ln_scale"][0], self.weights[f"{prefix}_ln_bias"][0]
        return torch.nn.functional.layer_norm(x, (x.shape[-1],), scale, bias, 1e-6)

    def logits(self, x: Any) -> Any:
        return x @ self.weights["Wemb"].T + self.weights["decoder_ff_logit_out_b"]
