"""WAV and image bytes to what encoders read, and clear errors for bytes that are neither."""

from __future__ import annotations

import io
import struct
import sys
from typing import Any

import numpy as np
import pytest

from lukewarm.predictors.errors import RequestError
from lukewarm.predictors.picture import _target, read_picture, read_pixels
from lukewarm.predictors.sound import Frames, log_mel, read_sound, resample
from lukewarm.predictors.wav import read_wav
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


def test_telephone_sounds_have_the_values_of_g711() -> None:
    codes = np.array([0xD5, 0x55, 0xAA, 0x2A], np.uint8).tobytes()
    samples, rate = read_wav(_wav(6, 8, codes, rate=8000))
    assert (samples * 4096).tolist() == [1, -1, 4032, -4032]
    assert rate == 8000
    codes = np.array([0xFF, 0x7F, 0x80, 0x00, 0xFE], np.uint8).tobytes()
    samples, _ = read_wav(_wav(7, 8, codes, rate=8000))
    assert (samples * 8192).tolist() == [0, 0, 8031, -8031, 2]


@pytest.mark.parametrize("subtype", ["ALAW", "ULAW", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_wav_is_read_as_libsndfile_reads_it(subtype: str, channels: int) -> None:
    soundfile = pytest.importorskip("soundfile")
    stream = io.BytesIO()
    sound = np.stack([TONE * part for part in np.linspace(1, 0.2, channels)], 1)
    soundfile.write(stream, sound, 22_050, format="WAV", subtype=subtype)
    wanted, rate = soundfile.read(io.BytesIO(stream.getvalue()), always_2d=True)
    samples, given = read_wav(stream.getvalue())
    assert given == rate == 22_050
    assert np.abs(samples - wanted.mean(1)).max() < 1e-6


@pytest.mark.parametrize(("form", "subtype"), [
    ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16"),
])  # fmt: skip
def test_compressed_sounds_are_read(form: str, subtype: str) -> None:
    soundfile = pytest.importorskip("soundfile")
    stream = io.BytesIO()
    soundfile.write(stream, np.tile(TONE, 3), 16_000, format=form, subtype=subtype)
    samples, rate = read_sound(stream.getvalue())
    heard = np.abs(np.fft.rfft(samples))
    assert round(heard.argmax() * rate / len(samples)) == 440
    assert abs(len(samples) / rate - 1.5) < 0.2
    if form in ("MP3", "AIFF"):  # the others' decoders say that the file is malformed
        samples, _ = read_sound(stream.getvalue()[: len(stream.getvalue()) // 2])
        assert 0 < len(samples) / rate < 1.5
    with pytest.raises(RequestError, match="the sound") as caught:
        read_sound(stream.getvalue()[:20])
    assert caught.value.path == "$.data"


def test_what_soundfile_would_read_is_named_where_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    for data, name in ((b"fLaC" + bytes(60), "FLAC"), (b"ID3" + bytes(60), "MP3"), (b"OggS" + bytes(60), "OGG")):
        with pytest.raises(RequestError, match=rf"is {name}.*lukewarm\[audio\]") as caught:
            read_sound(data)
        assert (caught.value.path, caught.value.allowed) == ("$.data", "WAV")
    with pytest.raises(RequestError, match="not a WAV file"):
        read_sound(b"what?" * 20)


def test_a_header_that_promises_4_gigabytes_gives_what_there_is() -> None:
    whole = bytearray(tiny_tasks.wav(TONE))
    whole[4:8] = whole[40:44] = b"\xff\xff\xff\xff"
    samples, _ = read_wav(bytes(whole))
    assert len(samples) == len(TONE)


def test_a_sound_of_a_day_is_too_long() -> None:
    with pytest.raises(RequestError, match="takes 86,400 s") as caught:
        read_sound(_wav(1, 8, bytes(86_400), rate=1))
    assert caught.value.code == "sound_too_long"


def test_a_long_sound_is_resampled_in_pieces_that_fit() -> None:
    time = np.arange(44_100 * 100) / 44_100
    tone = np.sin(2 * np.pi * 440 * time).astype(np.float32)
    found = resample(tone, 44_100, 16_000)
    wanted = np.sin(2 * np.pi * 440 * np.arange(len(found)) / 16_000)
    assert len(found) == 1_600_000
    assert np.abs(found[200:-200] - wanted[200:-200]).max() < 2e-3


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


def _file(image: Any, form: str, **more: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **more)
    return stream.getvalue()


def _red(size: tuple[int, int] = (8, 6)) -> Any:
    image = pytest.importorskip("PIL.Image")
    return image.new("RGB", size, (255, 0, 0))


@pytest.mark.parametrize(("form", "more"), [
    ("PNG", {}), ("JPEG", {"quality": 95}), ("WEBP", {"lossless": True}), ("GIF", {}), ("TIFF", {}), ("BMP", {}),
    ("PPM", {}), ("JPEG2000", {}),
])  # fmt: skip
def test_a_red_picture_is_red_in_every_format(form: str, more: dict[str, Any]) -> None:
    mean = np.asarray(read_picture(_file(_red(), form, **more)), np.float32).mean((0, 1))
    assert np.abs(mean - [255, 0, 0]).max() < 4


@pytest.mark.parametrize(("mode", "form"), [
    ("CMYK", "JPEG"), ("CMYK", "TIFF"), ("P", "PNG"), ("RGBA", "PNG"), ("L", "PNG"), ("1", "PNG"), ("LA", "PNG"),
])  # fmt: skip
def test_every_kind_of_pixel_becomes_rgb(mode: str, form: str) -> None:
    picture = read_picture(_file(_red().convert(mode), form))
    assert (picture.mode, picture.size) == ("RGB", (8, 6))
    if mode in ("CMYK", "P", "RGBA"):
        assert np.abs(np.asarray(picture, np.float32).mean((0, 1)) - [255, 0, 0]).max() < 4


def test_sixteen_bits_keep_their_grey() -> None:
    image = pytest.importorskip("PIL.Image")
    ramp = np.linspace(0, 65_535, 64).astype(np.uint16).reshape(8, 8)
    grey = np.asarray(read_picture(_file(image.fromarray(ramp), "PNG")), np.float32)[..., 0]
    assert np.abs(grey - ramp / 257).max() <= 1
    floats = np.asarray(read_picture(_file(image.fromarray((ramp / 65_535).astype(np.float32)), "TIFF")), np.float32)
    assert np.abs(floats[..., 0] - ramp / 257).max() <= 1


def test_a_picture_is_turned_as_its_camera_was_held_and_moves_not() -> None:
    image = pytest.importorskip("PIL.Image")
    exif = image.Exif()
    exif[0x0112] = 6
    assert read_picture(_file(_red(), "JPEG", exif=exif)).size == (6, 8)
    frames = [_red(), image.new("RGB", (8, 6), (0, 0, 255))]
    moving = _file(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.asarray(read_picture(moving))[0, 0].tolist() == [255, 0, 0]
    assert read_pixels(_file(_red((1, 1)), "PNG"), {"size": 32}).shape == (3, 32, 32)


def test_pictures_that_only_another_program_reads_are_refused() -> None:
    pytest.importorskip("PIL")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) run\nshowpage\n%%EOF\n"
    with pytest.raises(RequestError, match="its format is not known"):
        read_picture(eps)


def test_a_bomb_is_named() -> None:
    image = pytest.importorskip("PIL.Image")
    bomb = _file(image.new("1", (20_000, 20_000)), "PNG")
    with pytest.raises(RequestError) as caught:
        read_picture(bomb)
    assert (caught.value.code, caught.value.path) == ("image_too_large", "$.data")


@pytest.mark.models
@pytest.mark.parametrize("size", [(30, 20), (20, 30), (200, 90), (90, 200), (48, 32)])
@pytest.mark.parametrize("align", [True, False])
def test_a_page_is_fitted_as_donut_does(size: tuple[int, int], align: bool) -> None:
    from PIL import Image
    from transformers.models.donut.image_processing_pil_donut import DonutImageProcessorPil

    config = {"size": {"height": 32, "width": 48}, "do_thumbnail": True, "do_pad": True, "do_align_long_axis": align,
              "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}  # fmt: skip
    data = tiny_tasks.png(1, size)
    wanted = DonutImageProcessorPil(**config)(Image.open(io.BytesIO(data)), return_tensors="np")["pixel_values"][0]
    found = read_pixels(data, config)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 2.5 / 127
