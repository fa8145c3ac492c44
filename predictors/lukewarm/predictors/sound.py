"""WAV bytes to the log-mel frames that Whisper reads, in numpy alone."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lukewarm.predictors.errors import RequestError

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_HIGHEST_RATE = 768_000


@dataclass(frozen=True)
class Frames:
    """How a model wants its sound; the fields of preprocessor_config.json."""

    rate: int = 16_000  # samples per second
    window: int = 400  # samples, also the size of the transform
    hop: int = 160
    longest_s: float = 30.0  # shorter sounds are filled with silence


def read_wav(data: bytes, path: str = "$.data") -> tuple[FloatArray, int]:
    """One channel in -1 to 1 and its samples per second. Raises RequestError.

    PCM of 8 to 32 bits and floats of 32 or 64; several channels are averaged.
    """
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise RequestError("not_wav", "the sound is not a WAV file", path, allowed="RIFF WAVE, PCM or float")
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
    raise RequestError(
        "unknown_wav",
        f"WAV format {kind} with {bits} bits is not known",
        path,
        allowed="PCM of 8, 16, 24, 32 bits; float",
    )


def resample(samples: FloatArray, rate: int, wanted: int) -> FloatArray:
    """The same sound at another rate, band-limited, by its spectrum."""
    if rate == wanted:
        return samples
    length = max(1, round(len(samples) * wanted / rate))
    spectrum = np.fft.rfft(samples)
    kept = np.zeros(length // 2 + 1, complex)
    kept[: min(len(kept), len(spectrum))] = spectrum[: len(kept)]
    result: FloatArray = (np.fft.irfft(kept, length) * (length / len(samples))).astype(np.float32)
    return result


def log_mel(samples: FloatArray, filters: FloatArray, frames: Frames) -> FloatArray:
    """float32 [bands, places]; `filters` [window / 2 + 1, bands]. As WhisperFeatureExtractor does."""
    length = int(frames.longest_s * frames.rate)
    filled = np.zeros(length, np.float64)
    filled[: min(length, len(samples))] = samples[:length]
    half = frames.window // 2
    padded = np.pad(filled, half, mode="reflect")
    places = np.lib.stride_tricks.sliding_window_view(padded, frames.window)[:: frames.hop]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frames.window) / frames.window)
    power = np.abs(np.fft.rfft(places * window)) ** 2
    bands = np.log10(np.maximum(power @ filters.astype(np.float64), 1e-10)).T[:, :-1]
    bands = np.maximum(bands, bands.max() - 8.0)
    result: FloatArray = np.ascontiguousarray((bands + 4.0) / 4.0, np.float32)
    return result
