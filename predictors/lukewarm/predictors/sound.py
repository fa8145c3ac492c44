"""Sound files to samples at the rate of the model, and to the log-mel frames that Whisper reads, in numpy."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lukewarm.predictors.errors import RequestError
from lukewarm.predictors.wav import KINDS, read_wav

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]

LONGEST_S = 3600  # of one request; longer ones would take the memory of a small instance
_BLOCK = 1 << 16  # samples
_ALLOWED = f"WAV ({KINDS}), FLAC, OGG, MP3"
_SIGNATURES = (
    (b"fLaC", "FLAC"), (b"OggS", "OGG"), (b"ID3", "MP3"), (b"\xff\xfb", "MP3"), (b"\xff\xf3", "MP3"),
    (b"\xff\xf2", "MP3"), (b"FORM", "AIFF"), (b"RF64", "RF64"),
)  # fmt: skip
_PIECE_S, _MARGIN_S = 30, 1  # long sounds are resampled in pieces, whose ends are thrown away


@dataclass(frozen=True)
class Frames:
    """How a model wants its sound; the fields of preprocessor_config.json."""

    rate: int = 16_000  # samples per second
    window: int = 400  # samples, also the size of the transform
    hop: int = 160
    longest_s: float = 30.0  # shorter sounds are filled with silence


def read_sound(data: bytes, path: str = "$.data") -> tuple[FloatArray, int]:
    """One channel in -1 to 1 and its samples per second. Raises RequestError.

    WAV is read here; FLAC, OGG, MP3 and what else libsndfile knows, by soundfile where that is installed.
    """
    if len(data) >= 12 and data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        samples, rate = read_wav(data, path)
    elif not data:
        raise RequestError("not_wav", "the sound is empty", path, allowed=_ALLOWED)
    else:
        samples, rate = _read_file(data, path)
    if len(samples) > LONGEST_S * rate:
        raise _too_long(len(samples) / rate, path)
    return samples, rate


def _read_file(data: bytes, path: str) -> tuple[FloatArray, int]:
    try:
        import soundfile
    except ImportError as error:
        known = next((name for start, name in _SIGNATURES if data.startswith(start)), None)
        if known is None:
            raise RequestError("not_wav", "the sound is not a WAV file", path, allowed=_ALLOWED) from error
        raise RequestError(
            "not_wav", f"the sound is {known}, not a WAV file; this server lacks soundfile, which reads it "
            "(pip install 'lukewarm[audio]')", path, allowed="WAV",
        ) from error  # fmt: skip
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate = int(file.samplerate)
            parts, length = [], 0
            # block by block, one channel kept: a file of silence unfolds without end, and headers may lie
            while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
                parts.append(block.mean(1))
                length += len(block)
                if length > LONGEST_S * rate:
                    raise _too_long(max(length, file.frames) / rate, path)
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split()).partition(": ")[2] or "its format is not known"
        raise RequestError("not_wav", f"the sound cannot be read: {reason[:100]}", path, allowed=_ALLOWED) from error
    samples: FloatArray = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if not samples.size or not np.isfinite(samples).all():
        raise RequestError("damaged_wav", "the sound holds no samples, or some that are not numbers", path)
    return samples, rate


def _too_long(length_s: float, path: str) -> RequestError:
    return RequestError(
        "sound_too_long", f"the sound takes {length_s:,.0f} s", path, allowed=f"at most {LONGEST_S} s; cut it"
    )


def resample(samples: FloatArray, rate: int, wanted: int) -> FloatArray:
    """The same sound at another rate, band-limited, by its spectrum."""
    if rate == wanted:
        return samples
    if len(samples) <= 2 * _PIECE_S * rate:
        return _resampled(samples, max(1, round(len(samples) * wanted / rate)))
    # seconds are whole numbers of samples at both rates, so the pieces fit
    margin, piece = _MARGIN_S * wanted, _PIECE_S * rate
    parts = []
    for start in range(0, len(samples), piece):
        first = max(0, start - _MARGIN_S * rate)
        given = samples[first : start + piece + _MARGIN_S * rate]
        found = _resampled(given, max(1, round(len(given) * wanted / rate)))
        parts.append(found[margin if start else 0 :][: _PIECE_S * wanted])
    result: FloatArray = np.concatenate(parts)
    return result


def _resampled(samples: FloatArray, length: int) -> FloatArray:
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
