"""WAV and image bytes to what encoders read, and clear errors for bytes that are neither."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from lukewarm.predictors.errors import RequestError
from lukewarm.predictors.picture import _target, read_pixels
from lukewarm.predictors.sound import Frames, log_mel, read_wav, resample
from support import tiny_tasks

TONE = np.sin(2 * np.pi * 440 * np.arange(8000) / 16_000) * 0.5


def _wav(kind: int, bits: int, data: bytes, channels: int = 1, rate: int = 16_000) -> bytes:
    header = struct.pack("<HHIIHH", kind, channels, rate, 0, 0, bits)
    body = b"WAVE" + struct.pack("<4sI", b"fmt ", 16) + header + struct.pack("<4sI", b"data", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    ("kind", "bits", "encode", "allowed"),
    [
        (1, 8, lambda x: (x * 127 + 128).astype(np.uint8).tobytes(), 2e-2),
        (1, 16, lambda x: (x * 32767).astype("<i2").tobytes(), 1e-4),
        (1, 24, lambda x: b"".join(int(v * 8388607).to_bytes(3, "little", signed=True) for v in x), 1e-6),
        (1, 32, lambda x: (x * 2147483647).astype("<i4").tobytes(), 1e-6),
        (3, 32, lambda x: x.astype("<f4").tobytes(), 1e-6),
        (3, 64, lambda x: x.astype("<f8").tobytes(), 1e-6),
    ],
)
def test_every_kind_of_wav_gives_the_same_sound(kind, bits, encode, allowed) -> None:
    samples, rate = read_wav(_wav(kind, bits, encode(TONE)))
    assert rate == 16_000
    assert samples.dtype == np.float32
    assert np.abs(samples - TONE).max() < allowed


def test_channels_are_averaged() -> None:
    both = np.stack([TONE, -TONE], 1).astype("<f4").tobytes()
    samples, _ = read_wav(_wav(3, 32, both, channels=2))
    assert np.abs(samples).max() < 1e-6


@pytest.mark.parametrize("data", [
    b"", b"RIFF", b"ID3 not a wav file at all", b"RIFF\0\0\0\0WAVE", _wav(1, 16, b""), _wav(2, 4, b"abcd"),
    _wav(1, 16, b"ab", channels=0), _wav(3, 32, struct.pack("<f", float("nan"))), _wav(1, 16, b"abcd", rate=0),
])  # fmt: skip
def test_bytes_that_are_no_sound_are_one_clear_error(data: bytes) -> None:
    with pytest.raises(RequestError, match="WAV"):
        read_wav(data)


def test_a_cut_off_file_gives_what_there_is() -> None:
    whole = tiny_tasks.wav(TONE)
    samples, _ = read_wav(whole[: len(whole) // 2 + 1])
    assert 3000 < len(samples) < 5000


def test_resampling_keeps_the_tone() -> None:
    there = resample(TONE.astype(np.float32), 16_000, 44_100)
    assert len(there) == round(8000 * 44_100 / 16_000)
    spectrum = np.abs(np.fft.rfft(there))
    assert round(spectrum.argmax() * 44_100 / len(there)) == 440
    back = resample(there, 44_100, 16_000)
    assert np.abs(back[100:-100] - TONE[100:-100]).max() < 1e-3


@pytest.mark.models
@pytest.mark.parametrize("bands", [80, 128])
def test_log_mel_is_whispers(bands: int) -> None:
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor(feature_size=bands)
    noise = np.random.default_rng(0).normal(0, 0.1, 50_000).astype(np.float32)
    wanted = extractor(noise, sampling_rate=16_000, return_tensors="np").input_features[0]
    found = log_mel(noise, extractor.mel_filters.astype(np.float32), Frames())
    assert found.shape == wanted.shape == (bands, 3000)
    assert np.abs(found - wanted).max() < 1e-3


@pytest.mark.models
@pytest.mark.parametrize("config", [
    {"size": {"height": 32, "width": 48}}, {"size": {"shortest_edge": 40}, "do_center_crop": True,
     "crop_size": {"height": 32, "width": 32}}, {"do_normalize": False}, {"do_rescale": False, "resample": 3},
])  # fmt: skip
def test_pixels_are_those_of_transformers(config: dict[str, object]) -> None:
    import io

    from PIL import Image
    from transformers import CLIPImageProcessor, ViTImageProcessor

    kind = CLIPImageProcessor if "do_center_crop" in config else ViTImageProcessor
    processor = kind(**config) if not hasattr(kind, "slow") else kind.slow(**config)
    data = tiny_tasks.png(3, (71, 53))
    given = {**processor.to_dict(), **config}
    found = read_pixels(data, {key: value for key, value in given.items() if value is not None})
    wanted = np.asarray(processor(Image.open(io.BytesIO(data)), return_tensors="np")["pixel_values"][0])
    assert found.shape == wanted.shape
    # torchvision and Pillow may round a resized pixel (0 to 255) to either side
    steps = 1.0 if given.get("do_rescale", True) is False else 1 / 255
    deviation = min(given["image_std"]) if given.get("do_normalize", True) else 1.0
    assert np.abs(found - wanted).max() < 2.5 * steps / deviation


def test_sizes() -> None:
    assert _target((100, 50), 32) == (32, 32)
    assert _target((100, 50), {"shortest_edge": 25}) == (50, 25)
    assert _target((50, 100), {"shortest_edge": 25}) == (25, 50)
    assert _target((9, 9), {"height": 2, "width": 3}) == (3, 2)


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, tiny_tasks.wav(TONE)])
def test_bytes_that_are_no_image_are_one_clear_error(data: bytes) -> None:
    pytest.importorskip("PIL")
    with pytest.raises(RequestError, match="cannot be read"):
        read_pixels(data, {})
