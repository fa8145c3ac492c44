"""WAV bytes to samples, in numpy alone: PCM of 8 to 32 bits, floats, A-law and mu-law."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from lukewarm.predictors.errors import RequestError

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]

_PCM, _FLOAT, _A_LAW, _MU_LAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_HIGHEST_RATE = 768_000
KINDS = "PCM of 8, 16, 24, 32 bits; float; A-law; mu-law"


def read_wav(data: bytes, path: str = "$.data") -> tuple[FloatArray, int]:
    """One channel in -1 to 1 and its samples per second; several channels are averaged. Raises RequestError.

    A file that ends early, or whose header promises more than there is (recorders that stream write 4 GB), gives the
    samples that are there.
    """
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise RequestError("not_wav", "the sound is not a WAV file", path, allowed=f"RIFF WAVE: {KINDS}")
    chunks = _chunks(data)
    header, samples = chunks.get(b"fmt "), chunks.get(b"data")
    if header is None or len(header) < 16 or samples is None:
        raise RequestError("damaged_wav", "the WAV file has no format or no samples", path)
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", header)
    if kind == _EXTENSIBLE and len(header) >= 26:
        kind = struct.unpack_from("<H", header, 24)[0]
    if not 1 <= channels <= 64 or not 1 <= rate <= _HIGHEST_RATE:
        raise RequestError("damaged_wav", f"the WAV file says {channels} channels at {rate} Hz", path)
    values = _samples(samples, kind, bits, path)
    values = values[: len(values) // channels * channels].reshape(-1, channels).mean(1)
    if not values.size or not np.isfinite(values).all():
        raise RequestError("damaged_wav", "the WAV file holds no samples, or some that are not numbers", path)
    return values.astype(np.float32), rate


def _chunks(data: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        found.setdefault(name, data[at + 8 : at + 8 + size])  # a cut-off file: what there is
        at += 8 + size + size % 2
    return found


def _samples(raw: bytes, kind: int, bits: int, path: str) -> Any:
    size = bits // 8
    raw = raw[: len(raw) // max(size, 1) * max(size, 1)]
    if kind == _FLOAT and bits in (32, 64):
        return np.frombuffer(raw, f"<f{size}").astype(np.float64)
    if kind == _PCM and bits == 8:
        return (np.frombuffer(raw, np.uint8).astype(np.float64) - 128) / 128
    if kind == _PCM and bits in (16, 32):
        return np.frombuffer(raw, f"<i{size}").astype(np.float64) / (1 << (bits - 1))
    if kind == _PCM and bits == 24:
        parts = np.frombuffer(raw, np.uint8).reshape(-1, 3).astype(np.int32)
        values = (parts[:, 0] << 8 | parts[:, 1] << 16 | parts[:, 2] << 24) >> 8
        return values / float(1 << 23)
    if kind in (_A_LAW, _MU_LAW) and bits == 8:
        table = _a_law() if kind == _A_LAW else _mu_law()
        return table[np.frombuffer(raw, np.uint8)]
    raise RequestError("unknown_wav", f"WAV format {kind} with {bits} bits is not known", path, allowed=KINDS)


def _a_law() -> Any:
    """The 256 values of ITU-T G.711 A-law: sign, three bits of exponent, four of mantissa, every second bit flipped."""
    code = np.arange(256) ^ 0x55
    exponent, mantissa = code >> 4 & 7, code & 15
    size = np.where(exponent == 0, mantissa * 2 + 1, (mantissa * 2 + 33) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, 1, -1) * size / 4096


def _mu_law() -> Any:
    """The 256 values of ITU-T G.711 mu-law: all bits flipped, and a step of 33 below the first."""
    code = ~np.arange(256) & 0xFF
    size = (((code & 15) * 2 + 33) << (code >> 4 & 7)) - 33
    return np.where(code & 0x80, -1, 1) * size / 8192
