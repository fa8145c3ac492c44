"""Typed inputs and outputs of every task: what a Predictor takes and returns, on every backend and target."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from lukewarm.predictors.spec import Task

FinishReason = Literal["eos", "stop", "length", "cancelled"]


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One turn of a chat, for the model's own chat template."""

    role: Annotated[str, Meta(min_length=1, max_length=64)]
    content: str


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all requests."""


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all results."""


class TextGenerationRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Exactly one of `prompt` and `messages`. Fields left out take the bundle's defaults, then those below.

    Order of the sampling steps, as in transformers: repetition penalty (over prompt and new tokens), temperature,
    top-k, top-p.
    """

    prompt: str | None = None
    messages: Annotated[list[Message], Meta(min_length=1)] | None = None
    max_new_tokens: Annotated[int, Meta(ge=1)] | None = None  # default 128
    temperature: Annotated[float, Meta(ge=0, le=100)] | None = None  # default 0: greedy
    top_k: Annotated[int, Meta(ge=0)] | None = None  # default 0: off
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None  # default 1: off
    repetition_penalty: Annotated[float, Meta(gt=0, le=100)] | None = None  # default 1: off
    stop: Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(max_length=16)] | None = (
        None  # not part of the text returned
    )
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None  # same seed, same bundle, same machine: same text
    ignore_eos: bool = False  # for timing: always `max_new_tokens` tokens


class TextGenerationResult(Result, frozen=True, kw_only=True, omit_defaults=True):
    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int


class TextToTextRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Translation and the like, by beam search.

    `src_lang` and `tgt_lang` are for models with a token for each language (NLLB, mBART); left out, the tokenizer's own
    source language and the generation config's first token.
    """

    text: str
    src_lang: Annotated[str, Meta(min_length=1, max_length=32)] | None = None
    tgt_lang: Annotated[str, Meta(min_length=1, max_length=32)] | None = None
    num_beams: Annotated[int, Meta(ge=1, le=64)] | None = None
    length_penalty: float | None = None
    max_new_tokens: Annotated[int, Meta(ge=1)] | None = None


class TextToTextResult(Result, frozen=True, kw_only=True, omit_defaults=True):
    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int


class EmbeddingRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    text: str


class EmbeddingResult(Result, frozen=True, kw_only=True, omit_defaults=True):
    embedding: list[float]
    prompt_tokens: int


class ClassificationRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One text, or two of which the model judges the relation: a query and a passage, a premise and a hypothesis."""

    text: str
    text_pair: str | None = None
    top_k: Annotated[int, Meta(ge=1)] | None = None  # default: all labels


class Label(msgspec.Struct, frozen=True):
    label: str
    score: float


class ClassificationResult(Result, frozen=True, kw_only=True, omit_defaults=True):
    labels: list[Label]  # best first
    prompt_tokens: int


class BinaryRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An image or a sound file as base64 in JSON."""

    data: bytes
    max_new_tokens: Annotated[int, Meta(ge=1)] | None = None


class SpeechRequest(BinaryRequest, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A sound file; the other fields are for models that were told languages and times (Whisper)."""

    language: Annotated[str, Meta(min_length=1, max_length=64)] | None = None  # en, pt ...; default: heard
    task: Literal["transcribe", "translate"] | None = None  # translate: to English
    timestamps: bool = False  # with `segments`


class Segment(msgspec.Struct, frozen=True):
    """A piece of what was said, in seconds from the sound's beginning; the end is null where the sound ends first."""

    start_s: float
    end_s: float | None
    text: str


class SpeechResult(TextToTextResult, frozen=True, kw_only=True, omit_defaults=True):
    """Of a sound longer than the model hears at once, the joined text of its windows."""

    language: str | None = None  # said or heard, where the model knows languages
    segments: list[Segment] | None = None


class CustomRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Keyword arguments of a user's own predictor; its `predict` signature is the real type."""

    inputs: dict[str, Any]


class CustomResult(Result, frozen=True, kw_only=True, omit_defaults=True):
    output: Any


class Delta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One piece of a stream. The last one carries the whole result, and maybe no text."""

    text: str = ""
    result: Result | None = None


TASKS: dict[Task, tuple[type[Request], type[Result]]] = {
    "text-generation": (TextGenerationRequest, TextGenerationResult),
    "text-to-text": (TextToTextRequest, TextToTextResult),
    "embeddings": (EmbeddingRequest, EmbeddingResult),
    "text-classification": (ClassificationRequest, ClassificationResult),
    "image-to-text": (BinaryRequest, TextToTextResult),
    "speech-to-text": (SpeechRequest, SpeechResult),
    "custom": (CustomRequest, CustomResult),
}
