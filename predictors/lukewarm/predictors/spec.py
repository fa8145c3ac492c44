"""The model spec: what `lukewarm.yaml` or `[tool.lukewarm]` may say. Pure data; reading files is `specfile.py`.

Every string that can reach a Dockerfile, a generated Python file or a shell has a grammar here, so that no value can
break out.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Name = Annotated[
    str, Meta(pattern=r"\A[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z", description="lower case letters, digits, hyphens")
]
EnvName = Annotated[str, Meta(pattern=r"\A[A-Za-z_][A-Za-z0-9_]{0,127}\Z")]
EnvValue = Annotated[str, Meta(pattern=r"\A[^\x00-\x1f\x7f]*\Z", max_length=4096)]
ImportPath = Annotated[str, Meta(pattern=r"\A[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*\Z", description="module:Class")]
# PEP 508 without direct references, options or shell metacharacters
Requirement = Annotated[
    str,
    Meta(
        pattern=r"\A[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(\[[A-Za-z0-9._,\s-]*\])?\s*"
        r"((===|==|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9._*+!-]+(\s*,\s*)?)*\s*(;[\w\s.\"'<>=!()]+)?\Z",
        max_length=300,
    ),
]
SystemPackage = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9+.-]*(=[A-Za-z0-9.+:~-]+)?\Z", max_length=128)]
PythonVersion = Annotated[str, Meta(pattern=r"\A3\.(10|11|12|13)\Z", description="quoted: '3.11'")]
Word = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")]
SourcePath = Annotated[str, Meta(pattern=r"\A[^\x00-\x1f\x7f]+\Z", max_length=1024)]
Positive = Annotated[int, Meta(ge=1)]
NonNegative = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]
Ratio = Annotated[float, Meta(ge=0, le=1)]

Task = Literal[
    "text-generation", "text-to-text", "embeddings", "text-classification", "image-to-text", "speech-to-text", "custom"
]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class Generation(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Defaults for requests that do not say otherwise. Unset fields come from the source model, then from the task."""

    max_new_tokens: Positive | None = None
    temperature: Annotated[float, Meta(ge=0, le=100)] | None = None  # 0 is greedy
    top_k: NonNegative | None = None  # 0 is off
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=100)] | None = None
    stop: list[Annotated[str, Meta(min_length=1)]] | None = None
    num_beams: Annotated[int, Meta(ge=1, le=64)] | None = None  # text-to-text
    length_penalty: float | None = None  # text-to-text


class Accuracy(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a conversion may lose against the source in fp32. Over budget: exit code 7 and no bundle."""

    max_perplexity_ratio: Annotated[float, Meta(ge=1)] | None = None  # text-generation: 1.02 allows +2 %
    max_logit_mean_diff: Annotated[float, Meta(ge=0)] | None = None
    min_top1_agreement: Ratio | None = None
    max_bleu_drop: Annotated[float, Meta(ge=0)] | None = None  # text-to-text, BLEU points
    min_cosine: Ratio | None = None  # embeddings
    texts: SourcePath | None = None  # a UTF-8 text file to measure on; default: text that ships with Python


class Resources(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Hardware of one instance, in the units in which providers rent it."""

    cpu: Annotated[float, Meta(gt=0)] = 2.0  # vCPU
    memory_gb: Annotated[float, Meta(gt=0)] = 4.0
    gpu: Word | None = None  # T4, L4, A10G, L40S, A100-80GB, H100 ...
    gpu_count: Positive = 1
    disk_gb: Annotated[float, Meta(gt=0)] | None = None


class Scaling(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a serverless platform should scale this model."""

    min_instances: NonNegative = 0
    max_instances: Positive = 3
    idle_timeout_s: Seconds = 60.0
    concurrency: Positive = 1  # requests at once in one instance
    startup_timeout_s: Annotated[float, Meta(gt=0)] = 600.0


class Batching(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Dynamic batching in the server: off while `max_items` is 1."""

    max_items: Positive = 1
    max_wait_ms: Annotated[float, Meta(ge=0)] = 5.0


class Limits(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one request may ask for, and what happens when too many come."""

    body_mb: Annotated[float, Meta(gt=0)] = 16.0
    max_new_tokens: Positive = 1024
    max_items: Positive = 64  # items in one request
    queue: NonNegative = 32  # requests that may wait; more get 429
    request_timeout_s: Annotated[float, Meta(gt=0)] = 300.0
    drain_timeout_s: Seconds = 30.0
    url_inputs: bool = False
    cache_items: NonNegative = 0  # content-keyed response cache; 0 is off


class ModelSpec(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One model, everything needed to convert, package, price and push it."""

    name: Name
    source: SourcePath | None = None  # a local Hugging Face directory, or a hub name `org/model[@revision]`
    task: Task = "text-generation"
    backend: Word = "ort"
    precision: Word = "int8"
    predictor: ImportPath | None = None  # the user's own class instead of a backend
    generation: Generation = Generation()
    accuracy: Accuracy = Accuracy()
    resources: Resources = Resources()
    scaling: Scaling = Scaling()
    batching: Batching = Batching()
    limits: Limits = Limits()
    python: PythonVersion = "3.11"
    requirements: list[Requirement] = []
    system_packages: list[SystemPackage] = []
    include: list[SourcePath] = []  # the user's own files or folders, relative to the spec, for `predictor`
    env: dict[EnvName, EnvValue] = {}
    secrets: list[EnvName] = []  # names only; values are set at the provider
    image_budget_mb: Annotated[float, Meta(gt=0)] | None = None
    # raw options per target, passed through to the platform's own configuration
    targets: dict[Word, dict[str, Any]] = {}


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a spec file."""
    schema = msgspec.json.schema(ModelSpec)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "lukewarm.yaml", **schema}
