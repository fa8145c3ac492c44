"""Fills a bundle's manifest from the source's configuration; the digest of all that went into a conversion."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable
from typing import Any

import msgspec

from lukewarm.convert.job import Converted
from lukewarm.convert.source import Source
from lukewarm.predictors.bundle import FORMAT, Manifest
from lukewarm.predictors.errors import SourceError
from lukewarm.predictors.spec import Generation, ModelSpec

RECIPE = 4  # raised when converters make other bundles of the same source, so that old ones are made anew


def key(spec: ModelSpec, source: Source | None, packages: Iterable[str], texts: str | None) -> str:
    """sha256 over everything that can change a bundle: equal key, nothing to do. `texts`: digest of accuracy.texts."""
    parts = {
        "format": FORMAT,
        "name": spec.name,
        "task": spec.task,
        "backend": spec.backend,
        "precision": spec.precision,
        "predictor": spec.predictor,
        "recipe": RECIPE,
        "source": source.digest if source else None,
        "generation": msgspec.to_builtins(spec.generation),
        "texts": texts,
        "versions": versions(packages),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def make(spec: ModelSpec, source: Source | None, converted: Converted, made_from: str) -> Manifest:
    """The manifest without its files and accuracy. `made_from` is the key."""
    base = Manifest(
        format=FORMAT,
        name=spec.name,
        task=spec.task,
        backend=spec.backend,
        precision=spec.precision,
        source=spec.source or "",
        key=made_from,
        generation=spec.generation,
        options=dict(converted.options),
        versions=versions(converted.packages),
        predictor=spec.predictor,
    )
    if source is None:
        return base
    return msgspec.structs.replace(
        base,
        architecture=source.architecture,
        source_digest=source.digest,
        generation=generation_defaults(spec.generation, source),
        eos_token_ids=source.token_ids("eos_token_id"),
        bos_token_id=_first(source.token_ids("bos_token_id")),
        pad_token_id=_first(source.token_ids("pad_token_id")),
        decoder_start_token_id=_first(source.token_ids("decoder_start_token_id")),
        max_context_tokens=converted.max_context_tokens or source.max_context_tokens,
        vocab_size=source.vocab_size,
    )


def generation_defaults(given: Generation, source: Source) -> Generation:
    """The spec's fields, then the source's generation_config.json with transformers' meaning of it."""
    config = source.generation_config
    found: dict[str, Any] = {"repetition_penalty": config.get("repetition_penalty")}
    found["max_new_tokens"] = config.get("max_new_tokens")
    found["num_beams"] = config.get("num_beams")
    found["length_penalty"] = config.get("length_penalty")
    if config.get("do_sample"):
        # transformers samples from the 50 best unless told otherwise
        found |= {"temperature": config.get("temperature", 1.0), "top_k": config.get("top_k", 50)}
        found["top_p"] = config.get("top_p")
    neutral = {"repetition_penalty": 1.0, "num_beams": 1, "length_penalty": 1.0, "top_p": 1.0}
    values = {name: value for name, value in found.items() if value is not None and neutral.get(name) != value}
    values |= {name: value for name, value in msgspec.to_builtins(given).items() if value is not None}
    try:
        return msgspec.convert(values, Generation)
    except msgspec.ValidationError as error:
        raise SourceError(f"{source.root / 'generation_config.json'}: {error}") from error


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Installed versions of distributions, lukewarm's own among them; what is absent is left out."""
    found = {}
    for package in sorted({"lukewarm", *packages}):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _first(ids: list[int]) -> int | None:
    return ids[0] if ids else None
