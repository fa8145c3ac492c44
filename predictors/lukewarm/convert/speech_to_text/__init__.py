"""Whisper to bundles: mel filters, prompt and language from the model's own files."""

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

ARCHITECTURE = "WhisperForConditionalGeneration"
PREPROCESSOR = "preprocessor_config.json"
_KEPT = ("sampling_rate", "n_fft", "hop_length", "chunk_length", "feature_size")


def check(source: Source) -> None:
    """Refuse what is not Whisper or lacks its files. Imports nothing heavy."""
    if source.architecture != ARCHITECTURE:
        raise UnsupportedError(
            f"{source.architecture} is not a speech-to-text model that is known; {ARCHITECTURE} is, on hf, ort and ct2"
        )
    check_common(source)
    preprocessor(source)
    search_options(source)


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
    """Language tokens, the language if it is fixed, and the prompt behind it: transcribe, without timestamps."""
    config = job.source.generation_config
    vocabulary = {token["content"]: token["id"] for token in _added_tokens(job)}
    languages = {str(name): int(number) for name, number in (config.get("lang_to_id") or {}).items()}
    multilingual = bool(languages) and config.get("is_multilingual", True)
    prompt = []
    if multilingual and (task := (config.get("task_to_id") or {}).get("transcribe")) is not None:
        prompt.append(int(task))
    silent = config.get("no_timestamps_token_id", vocabulary.get("<|notimestamps|>"))
    if silent is not None:
        prompt.append(int(silent))
    found: dict[str, Any] = {"prompt": prompt}
    if multilingual:
        found["languages"] = sorted(languages.values())
        named = (languages.get(name) for name in (str(config.get("language")), f"<|{config.get('language')}|>"))
        found["language"] = next((number for number in named if number is not None), None)
    return found


def _added_tokens(job: Job) -> list[dict[str, Any]]:
    return list(json.loads((job.out / "tokenizer.json").read_text("utf-8")).get("added_tokens") or [])
