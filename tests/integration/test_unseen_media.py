"""Models of images and sounds that the other tests do not name, held to transformers; and how their backends break."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from lukewarm.convert import encoder_decoder
from lukewarm.convert.api import ConvertOptions, convert_model
from lukewarm.predictors.errors import AccuracyError, RequestError, UnsupportedError
from lukewarm.predictors.hf.steps import TorchSteps
from lukewarm.predictors.predictor import Runtime, load_predictor
from lukewarm.predictors.spec import ModelSpec
from lukewarm.predictors.tasks import BinaryRequest, SpeechRequest
from lukewarm.predictors.wav import read_wav
from support import tiny_tasks, unseen_media

pytestmark = [pytest.mark.models, pytest.mark.timeout(900)]
ALONE = ("git", "pix2struct", "moonshine")  # on hf


def load(source: Path, out: Path, task: Any, backend: str) -> Any:
    spec = ModelSpec(name="x", source=str(source), task=task, backend=backend, precision="fp32")
    bundle = convert_model(spec, out, out, options=ConvertOptions(), progress=lambda _text, _part: None)
    return load_predictor(bundle, Runtime(threads=1, device="cpu"), warm_up=True)


def refused(source: Path, out: Path, task: Any, backend: str, words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        load(source, out, task, backend)
    assert not list(out.glob("x-*"))


def with_beams(predictor: Any, beams: int) -> None:
    manifest = predictor.bundle.manifest
    generation = msgspec.structs.replace(manifest.generation, num_beams=beams)
    predictor.bundle = type(predictor.bundle)(
        predictor.bundle.root, msgspec.structs.replace(manifest, generation=generation)
    )


def described(source: Path, image: bytes, beams: int) -> str:
    """What transformers says: its own image processor, its own generate, its own tokenizer."""
    import transformers
    from PIL import Image

    architecture = transformers.AutoConfig.from_pretrained(source).architectures[0]
    model = getattr(transformers, architecture).from_pretrained(source).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(source)
    inputs = processor(images=Image.open(io.BytesIO(image)).convert("RGB"), return_tensors="pt")
    out = model.generate(**inputs, max_new_tokens=8, max_length=None, do_sample=False, num_beams=beams)
    words = transformers.AutoTokenizer.from_pretrained(source)
    return str(words.decode(out[0], skip_special_tokens=True)).strip()


@pytest.mark.parametrize(("kind", "backend"), [
    ("blip", "hf"),
    *(pytest.param(kind, backend, marks=pytest.mark.slow) for kind in unseen_media.IMAGES for backend in ("hf", "ort")
      if (kind, backend) != ("blip", "hf")),
])  # fmt: skip
def test_images_are_described_as_transformers_does(tmp_path: Path, kind: str, backend: str) -> None:
    source = unseen_media.IMAGES[kind]()
    if backend == "ort" and kind in ALONE:
        refused(source, tmp_path, "image-to-text", "ort", "these can: hf")
        return
    predictor = load(source, tmp_path, "image-to-text", backend)
    assert predictor.bundle.manifest.accuracy["token_agreement"] >= 0.95
    images = [tiny_tasks.png(0), tiny_tasks.png(1, (20, 90))]
    for beams in (1, 3):
        with_beams(predictor, beams)
        found = predictor.predict_batch([BinaryRequest(data=image, max_new_tokens=8) for image in images])
        assert [result.text for result in found] == [described(source, image, beams) for image in images]
    if kind != "pix2struct":  # which has relative positions and no end
        with pytest.raises(RequestError, match="has room for"):
            predictor.check(BinaryRequest(data=images[0], max_new_tokens=1000))
        assert predictor.predict(BinaryRequest(data=images[0])).finish_reason in ("length", "eos")


def noises(*lengths: int) -> list[bytes]:
    draw = np.random.default_rng(0)
    return [
        tiny_tasks.wav(np.sin(np.arange(length) * place / 30) * 0.4 + draw.normal(0, 0.05, length))
        for place, length in enumerate(lengths, 2)
    ]


@pytest.mark.parametrize(("kind", "backend"), [
    ("wav2vec2", "hf"),
    *(pytest.param(kind, backend, marks=pytest.mark.slow) for kind in unseen_media.CTC for backend in ("hf", "ort")
      if (kind, backend) != ("wav2vec2", "hf")),
])  # fmt: skip
def test_letters_of_a_sound_are_the_pipelines(tmp_path: Path, kind: str, backend: str) -> None:
    import transformers

    source = unseen_media.ctc(kind)
    predictor = load(source, tmp_path, "speech-to-text", backend)
    pipeline = transformers.pipeline("automatic-speech-recognition", model=str(source))
    for sound in noises(16_000, 24_000, 9_000):
        samples, rate = read_wav(sound)
        wanted = pipeline({"raw": samples.copy(), "sampling_rate": rate})["text"]
        assert predictor.predict(SpeechRequest(data=sound)).text == wanted
    for length in (1, 10, 300, 700):  # shorter than one place
        assert predictor.predict(SpeechRequest(data=noises(length)[0])).finish_reason == "eos"
    with pytest.raises(RequestError, match="takes no language"):
        predictor.check(SpeechRequest(data=sound, language="en"))


def test_letters_of_a_long_sound_are_the_pipelines_in_chunks(tmp_path: Path) -> None:
    import transformers

    source = unseen_media.ctc("wav2vec2")
    predictor = load(source, tmp_path, "speech-to-text", "hf")
    pipeline = transformers.pipeline("automatic-speech-recognition", model=str(source), chunk_length_s=30)
    sound = noises(16_000 * 70)[0]
    samples, rate = read_wav(sound)
    assert predictor.predict(SpeechRequest(data=sound)).text == pipeline(
        {"raw": samples.copy(), "sampling_rate": rate}
    )["text"]  # fmt: skip


def test_letters_need_a_backend_that_can(tmp_path: Path) -> None:
    refused(unseen_media.ctc("hubert"), tmp_path, "speech-to-text", "ct2", "these can: hf, ort")


WORDS, TIMES = 512, 520  # tokens below are words; tokens from there on are times


def first_segments(tokens: list[int]) -> list[int]:
    """Up to two times in a row, from where transformers hears the rest of a window anew, which a random model asks for
    now and then without having been told of times."""
    pair = next((at for at in range(1, len(tokens)) if min(tokens[at - 1 : at + 1]) >= TIMES), len(tokens))
    return tokens[:pair]


@pytest.mark.parametrize(("kind", "backend"), [
    ("times", "hf"),
    *(pytest.param(kind, backend, marks=pytest.mark.slow) for kind in unseen_media.WHISPERS
      for backend in ("hf", "ort", "ct2")
      # CTranslate2 hears languages by the size of OpenAI's own vocabulary only
      if (kind, backend) != ("times", "hf") and (backend != "ct2" or kind == "en")),
])  # fmt: skip
def test_whispers_languages_tasks_and_times(tmp_path: Path, kind: str, backend: str) -> None:
    import torch
    import transformers

    source = unseen_media.whisper(kind)
    predictor = load(source, tmp_path, "speech-to-text", backend)
    model = transformers.WhisperForConditionalGeneration.from_pretrained(source).eval()
    told: list[dict[str, Any]] = [{"timestamps": False}, {"timestamps": True}]
    if kind == "en":
        with pytest.raises(RequestError, match="one language only"):
            predictor.check(SpeechRequest(data=noises(9)[0], language="en"))
    else:
        told = [{**one, "language": "pt", "task": task} for one in told for task in ("transcribe", "translate")]
    for sound, fields in [(sound, fields) for sound in noises(32_000, 32_000) for fields in told]:
        request = SpeechRequest(data=sound, max_new_tokens=10, **fields)
        features = predictor.features(read_wav(sound)[0])[None]
        found = predictor.run(features, predictor.settings(request), threading.Event())[0].tokens
        asked = {"return_timestamps" if name == "timestamps" else name: value for name, value in fields.items()}
        given = torch.from_numpy(features)
        out = model.generate(input_features=given, max_new_tokens=10, do_sample=False, **asked)[0].tolist()
        if not (backend == "ct2" and fields["timestamps"]):  # which chooses times by rules of its own
            assert first_segments(found) == first_segments(out)
        result = predictor.predict(request)
        if not fields["timestamps"]:
            assert result.text == predictor.tokenizer.decode([token for token in found if token < WORDS]).strip()
            assert result.segments is None
            continue
        times = [time for segment in result.segments for time in (segment.start_s, segment.end_s) if time is not None]
        assert times == sorted(times)
    assert result.language == (None if kind == "en" else "pt")


def test_a_long_sound_is_heard_in_windows_that_overlap(tmp_path: Path) -> None:
    """As transformers' pipeline with `chunk_length_s` cuts and joins them."""
    from transformers.models.whisper.tokenization_whisper import _find_longest_common_sequence

    from lukewarm.predictors.long_sound import join, windows

    predictor = load(unseen_media.whisper("times"), tmp_path, "speech-to-text", "hf")
    sound = noises(90_000)[0]
    samples, rate = read_wav(sound)
    cut = windows(len(samples), 2 * rate)
    settings = predictor.settings(SpeechRequest(data=sound, max_new_tokens=8))
    rows = []
    for window in cut:
        features = predictor.features(samples[window.start : window.end])[None]
        found = predictor.run(features, settings, threading.Event())[0].tokens
        rows.append([token for token in found if token < WORDS])
    assert len(cut) > 3
    wanted = _find_longest_common_sequence(rows)
    assert join(rows) == wanted
    result = predictor.predict(SpeechRequest(data=sound, max_new_tokens=8))
    assert result.text == predictor.tokenizer.decode(wanted).strip()
    timed = predictor.predict(SpeechRequest(data=sound, max_new_tokens=8, timestamps=True))
    assert timed.segments[-1].start_s > 2
    for field, value in (("language", "xx"), ("language", "english")):
        with pytest.raises(RequestError, match="does not know") as caught:
            predictor.check(SpeechRequest(data=sound, **{field: value}))
        assert caught.value.allowed == "en, pt"


@pytest.mark.parametrize("backend", ["hf", "ort"])
@pytest.mark.slow
def test_moonshine_is_transformers_own(tmp_path: Path, backend: str) -> None:
    import transformers

    source = unseen_media.moonshine()
    if backend == "ort":
        refused(source, tmp_path, "speech-to-text", "ort", "these can: hf")
        return
    predictor = load(source, tmp_path, "speech-to-text", backend)
    model = transformers.MoonshineForConditionalGeneration.from_pretrained(source).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(source)
    for sound in noises(16_000, 24_000):
        inputs = extractor(read_wav(sound)[0], sampling_rate=16_000, return_tensors="pt")
        out = model.generate(**inputs, max_new_tokens=8, max_length=None, do_sample=False)
        wanted = transformers.AutoTokenizer.from_pretrained(source).decode(out[0], skip_special_tokens=True).strip()
        assert predictor.predict(SpeechRequest(data=sound, max_new_tokens=8)).text == wanted


@pytest.mark.parametrize(("task", "backend"), [
    ("image-to-text", "hf"),
    *(pytest.param(task, "ort", marks=pytest.mark.slow) for task in ("image-to-text", "speech-to-text")),
])  # fmt: skip
def test_a_backend_that_answers_otherwise_is_no_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: Any, backend: str
) -> None:
    """The accuracy check of a conversion: a decoder whose logits are turned round."""
    whole, step = encoder_decoder._run_decoder, TorchSteps.step

    def broken(*given: Any) -> Any:
        output = whole(*given)
        output.logits = -output.logits
        return output

    if backend == "ort":
        monkeypatch.setattr(encoder_decoder, "_run_decoder", broken)
    else:
        monkeypatch.setattr(TorchSteps, "step", lambda *given: -step(*given))
    source = tiny_tasks.vision() if task == "image-to-text" else unseen_media.whisper("times")
    spec = ModelSpec(name="x", source=str(source), task=task, backend=backend, precision="fp32")
    with pytest.raises(AccuracyError, match="of the source's tokens before the first other one") as caught:
        convert_model(spec, tmp_path, tmp_path, progress=lambda _text, _part: None)
    assert caught.value.measured["token_agreement"] < 0.5
    assert not list(tmp_path.glob("x-*"))


def test_a_preprocessor_that_is_misread_is_no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lukewarm.predictors import picture

    right = picture.pixels
    monkeypatch.setattr(picture, "pixels", lambda image, config, path="": right(image, config, path)[::-1].copy())
    spec = ModelSpec(name="x", source=str(tiny_tasks.vision()), task="image-to-text", backend="hf", precision="fp32")
    with pytest.raises(AccuracyError, match="away from what transformers prepares"):
        convert_model(spec, tmp_path, tmp_path, progress=lambda _text, _part: None)
