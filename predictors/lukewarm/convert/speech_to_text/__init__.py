"""Models that hear, to bundles: what every backend's converter shares."""

from __future__ import annotations

import json
from typing import Any

from lukewarm.convert import tokenizer
from lukewarm.convert.encoders import check_common
from lukewarm.convert.job import Job
from lukewarm.convert.source import Source
from lukewarm.convert.text_to_text import search_options
from lukewarm.convert.weights import read_json
from lukewarm.predictors.errors import SourceError, UnsupportedError

WHISPER = "WhisperForConditionalGeneration"
CTC = frozenset(  # a letter for each place of the raw sound: our own reading of it, on hf and ort
    {
        "Data2VecAudioForCTC", "HubertForCTC", "SEWForCTC", "UniSpeechForCTC", "UniSpeechSatForCTC", "Wav2Vec2ForCTC",
        "Wav2Vec2ConformerForCTC", "WavLMForCTC",
    }
)  # fmt: skip
PROCESSED = frozenset({"MoonshineForConditionalGeneration"})  # by transformers alone
PREPROCESSOR = "preprocessor_config.json"
_KEPT = ("sampling_rate", "n_fft", "hop_length", "chunk_length", "feature_size")
_RAW = "Wav2Vec2FeatureExtractor"


def check(source: Source, backend: str) -> None:
    """Refuse what the backend has no way for, or what lacks its files. Imports nothing heavy."""
    name = source.architecture
    if name not in {WHISPER} | CTC | PROCESSED:
        raise UnsupportedError(
            f"{name} is not a speech-to-text model that is known; {WHISPER} is, on hf, ort and ct2; on hf and ort: "
            f"{', '.join(sorted(CTC))}; on hf: {', '.join(sorted(PROCESSED))}; "
            "serve others with your own predictor class (predictor: module:Class)"
        )
    able = ("hf", "ort", "ct2") if name == WHISPER else ("hf", "ort") if name in CTC else ("hf",)
    if backend not in able:
        raise UnsupportedError(
            f"backend {backend!r} cannot carry {name} for speech-to-text; these can: {', '.join(able)}"
        )
    if name == WHISPER:
        check_common(source)
        preprocessor(source)
        search_options(source)
    elif name in CTC:
        raw_sound(source)
    elif not (source.root / PREPROCESSOR).is_file():
        raise SourceError(f"{source.root} has no {PREPROCESSOR}")


def preprocessor(source: Source) -> dict[str, Any]:
    """The fields of preprocessor_config.json that the predictor needs. Raises SourceError."""
    config = read_json(source.root / PREPROCESSOR)
    if config.get("feature_extractor_type", "WhisperFeatureExtractor") != "WhisperFeatureExtractor":
        raise UnsupportedError(f"{source.root / PREPROCESSOR}: {config['feature_extractor_type']} is not known")
    found = {key: config[key] for key in _KEPT if key in config}
    if not all(isinstance(value, int) and value > 0 for value in found.values()):
        raise SourceError(f"{source.root / PREPROCESSOR} holds sizes that are no positive numbers")
    return found


def write_common(job: Job) -> dict[str, Any]:
    """Write tokenizer and mel filters; returns the options that all backends share."""
    import numpy as np
    from transformers.audio_utils import mel_filter_bank

    tokenizer.write(job.source, job.out)
    given = preprocessor(job.source)
    window, rate = given.get("n_fft", 400), given.get("sampling_rate", 16_000)
    bands = job.source.config.get("num_mel_bins", given.get("feature_size", 80))
    filters = mel_filter_bank(
        num_frequency_bins=1 + window // 2, num_mel_filters=bands, min_frequency=0.0, max_frequency=rate / 2,
        sampling_rate=rate, norm="slaney", mel_scale="slaney",
    )  # fmt: skip
    np.save(job.out / "mel_filters.npy", filters.astype(np.float32), allow_pickle=False)
    return {"search": search_options(job.source), "preprocessor": given, "whisper": whisper_options(job)}


def whisper_options(job: Job) -> dict[str, Any]:
    """Language tokens, the language if it is fixed, the prompt behind it (transcribe, no times), and the times."""
    config = job.source.generation_config
    vocabulary = {token["content"]: token["id"] for token in _added_tokens(job)}
    languages = {str(name): int(number) for name, number in (config.get("lang_to_id") or {}).items()}
    multilingual = bool(languages) and config.get("is_multilingual", True)
    tasks = {str(name): int(number) for name, number in (config.get("task_to_id") or {}).items()}
    found: dict[str, Any] = {"prompt": []}
    if multilingual and "transcribe" in tasks:
        found |= {name: tasks[name] for name in ("transcribe", "translate") if name in tasks}
        found["prompt"].append(tasks["transcribe"])
    silent = config.get("no_timestamps_token_id", vocabulary.get("<|notimestamps|>"))
    if silent is not None:
        found["prompt"].append(int(silent))
        if job.source.vocab_size and int(silent) + 1 < job.source.vocab_size:
            found["clock"] = _clock(job, int(silent))
    if multilingual:
        found["languages"] = sorted(languages.values())
        named = (languages.get(name) for name in (str(config.get("language")), f"<|{config.get('language')}|>"))
        found["language"] = next((number for number in named if number is not None), None)
    return found


def _clock(job: Job, silent: int) -> dict[str, Any]:
    config = job.source.generation_config
    ends = job.source.token_ids("eos_token_id")
    places, window_s = job.source.config.get("max_source_positions", 1500), preprocessor(job.source).get("chunk_length")
    return {
        "first": silent + 1, "silent": silent, "ends": ends[0] if ends else silent,
        "step_s": (window_s or 30) / places, "latest_start": config.get("max_initial_timestamp_index"),
    }  # fmt: skip


def raw_sound(source: Source) -> dict[str, Any]:
    """Rate and normalisation of a model that reads the samples themselves. Raises UnsupportedError, SourceError."""
    config = read_json(source.root / PREPROCESSOR)
    kind = config.get("feature_extractor_type", _RAW)
    if kind != _RAW:
        raise UnsupportedError(
            f"{source.root / PREPROCESSOR}: {kind} is not known; serve the model with your own predictor class "
            "(predictor: module:Class)"
        )
    strides, kernels = _sizes(source, "conv_stride"), _sizes(source, "conv_kernel")
    if not strides or len(strides) != len(kernels):
        raise SourceError(f"{source.root / 'config.json'}: conv_stride and conv_kernel are no lists of sizes")
    stride, shortest = 1, 1
    for step, width in zip(reversed(strides), reversed(kernels), strict=True):
        shortest = (shortest - 1) * step + width
    for step in strides:
        stride *= step
    squeeze = int(source.config.get("squeeze_factor", 1))
    return {
        "rate": int(config.get("sampling_rate", 16_000)), "normalize": bool(config.get("do_normalize", True)),
        "stride": stride, "shortest": shortest + stride * (2 * squeeze - 1),
    }  # fmt: skip


def ctc_options(job: Job) -> dict[str, Any]:
    """`options.ctc`: how the sound is read, and the letters. Raises SourceError for a vocabulary of another model."""
    words = tokenizer.load(job.source)
    rows = int(job.source.config.get("vocab_size", 32))
    if len(words) > rows:
        raise SourceError(
            f"the tokenizer of {job.source.root} does not match the model: it has {len(words)} letters, "
            f"the model writes {rows}"
        )
    letters = [str(letter) if letter is not None else "" for letter in words.convert_ids_to_tokens(list(range(rows)))]
    blank = words.pad_token_id
    return {
        "way": "ctc",
        "ctc": {
            **raw_sound(job.source), "letters": letters, "blank": 0 if blank is None else int(blank),
            "space": getattr(words, "word_delimiter_token", None),
            "lower": bool(getattr(words, "do_lower_case", False)),
        },
    }  # fmt: skip


def _sizes(source: Source, key: str) -> list[int]:
    """A list of positive numbers in config.json; anything else counts as none."""
    value = source.config.get(key)
    right = isinstance(value, list) and all(isinstance(size, int) and size > 0 for size in value)
    return list(value) if right and value else []


def _added_tokens(job: Job) -> list[dict[str, Any]]:
    return list(json.loads((job.out / "tokenizer.json").read_text("utf-8")).get("added_tokens") or [])
