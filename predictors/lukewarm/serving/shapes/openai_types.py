"""What OpenAI clients send, as far as it has a meaning here, and what is taken only at its neutral value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from lukewarm.predictors.errors import RequestError

Tokens = Annotated[int, Meta(ge=1)]
Strings = Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(max_length=16)]


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    include_usage: bool = False


class _Sampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model: str | None = None
    max_tokens: Tokens | None = None
    temperature: Annotated[float, Meta(ge=0, le=100)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    stop: Annotated[str, Meta(min_length=1)] | Strings | None = None
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None  # taken and not used
    # not OpenAI's; through the client's `extra_body`
    top_k: Annotated[int, Meta(ge=0)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=100)] | None = None
    ignore_eos: bool = False


class CompletionRequest(_Sampling, frozen=True, kw_only=True, forbid_unknown_fields=True):
    prompt: str | Annotated[list[str], Meta(min_length=1)]


class TextPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    type: Literal["text"]
    text: str


class ChatMessage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    role: Annotated[str, Meta(min_length=1, max_length=64)]
    content: str | list[TextPart]

    def as_native(self) -> dict[str, str]:
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": self.role, "content": text}


class ChatRequest(_Sampling, frozen=True, kw_only=True, forbid_unknown_fields=True):
    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    max_completion_tokens: Tokens | None = None


class EmbeddingsRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    input: str | Annotated[list[str], Meta(min_length=1)]
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    user: str | None = None


# parameter -> the values that ask for nothing; any other is refused by name
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1, None),
    "best_of": (1, None),
    "echo": (False, None),
    "suffix": (None,),
    "logprobs": (False, None),
    "top_logprobs": (None,),
    "logit_bias": (None, {}),
    "presence_penalty": (0, None),
    "frequency_penalty": (0, None),
    "response_format": (None, {"type": "text"}),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "parallel_tool_calls": (None, True, False),
    "functions": (None, []),
    "function_call": (None, "none", "auto"),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "dimensions": (None,),
    "store": (False, None),
    "service_tier": (None, "auto", "default"),
}


def without_neutral(body: dict[str, Any]) -> dict[str, Any]:
    """The body less the parameters at their neutral value. Raises RequestError for those that ask for something."""
    kept = {}
    for key, value in body.items():
        if key not in NEUTRAL:
            kept[key] = value
        elif not any(type(value) is type(neutral) and value == neutral for neutral in _variants(NEUTRAL[key])):
            allowed = " | ".join(msgspec.json.encode(neutral).decode() for neutral in NEUTRAL[key])
            raise RequestError("unsupported_parameter", f"{key!r} is not supported here", f"$.{key}", allowed)
    return kept


def _variants(values: tuple[Any, ...]) -> list[Any]:
    return [variant for value in values for variant in ([value, float(value)] if type(value) is int else [value])]
