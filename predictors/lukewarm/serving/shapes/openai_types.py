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
    include_usage: bool | None = None


class _Sampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model: str | None = None
    max_tokens: Tokens | None = None
    temperature: Annotated[float, Meta(ge=0, le=100)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    stop: Annotated[str, Meta(min_length=1)] | Strings | None = None
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # taken and not used: they say who asks, or where a provider should look first
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    metadata: dict[str, str] | None = None
    # not OpenAI's; through the client's `extra_body`
    top_k: Annotated[int, Meta(ge=-1)] | None = None  # -1 is off, as 0
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


Neutral = Mapping[str, tuple[Any, ...]]

# parameter -> the values that ask for nothing; any other is refused by name
NEUTRAL: Neutral = {
    "n": (1, None),
    "best_of": (1, None),
    "echo": (False, None),
    "suffix": (None,),
    "logprobs": (False, None),
    "top_logprobs": (None, 0),
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
    "prediction": (None,),
    "reasoning_effort": (None, "none"),
    "verbosity": (None, "medium"),
    "web_search_options": (None,),
    "moderation": (None,),
    "dimensions": (None,),
    "store": (False, None),
    "service_tier": (None, "auto", "default"),
    "prompt_cache_retention": (None, "in-memory", "in_memory"),
    # of other servers that speak this protocol
    "min_p": (0, None),
    "min_tokens": (0, None),
    "length_penalty": (1, None),
    "use_beam_search": (False, None),
    "skip_special_tokens": (True, None),
}
# what an answer of OpenAI's carries, and comes back as a turn of the chat
MESSAGE_NEUTRAL: Neutral = {
    "name": (None,),
    "refusal": (None,),
    "annotations": (None, []),
    "audio": (None,),
    "function_call": (None,),
    "tool_calls": (None, []),
    "tool_call_id": (None,),
}
STREAM_NEUTRAL: Neutral = {"include_obfuscation": (False, None)}
# the same, of the structs inside a request
NESTED: Mapping[str, Neutral] = {"ChatMessage": MESSAGE_NEUTRAL, "StreamOptions": STREAM_NEUTRAL}


def without_neutral(body: dict[str, Any]) -> dict[str, Any]:
    """The body less the parameters at their neutral value. Raises RequestError for those that ask for something."""
    kept = _less(body, NEUTRAL, "$")
    if isinstance(options := kept.get("stream_options"), dict):
        kept["stream_options"] = _less(options, STREAM_NEUTRAL, "$.stream_options")
    if isinstance(messages := kept.get("messages"), list):
        kept["messages"] = [_message(message, f"$.messages[{index}]") for index, message in enumerate(messages)]
    for name in ("prompt", "input"):
        _refuse_tokens(kept.get(name), f"$.{name}")
    return kept


def _message(message: Any, at: str) -> Any:
    if not isinstance(message, dict):
        return message
    parts = message.get("content")
    for index, part in enumerate(parts if isinstance(parts, list) else []):
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and kind != "text":
            where = f"{at}.content[{index}].type"
            raise RequestError(
                "unsupported_parameter", f"content of type {kind!r} is not supported here", where, "text"
            )
    return _less(message, MESSAGE_NEUTRAL, at)


def _refuse_tokens(value: Any, at: str) -> None:
    """OpenAI takes token ids too; those of its models, which a client counts by, mean nothing to this one."""
    if isinstance(value, list) and value:
        first, where = (value[0], f"{at}[0]")
        first, where = (first[0], f"{where}[0]") if isinstance(first, list) and first else (first, where)
        if isinstance(first, (int, float)) and not isinstance(first, bool):
            raise RequestError("wrong_type", "token ids are not taken here, only text", where, "string")


def _less(body: dict[str, Any], neutral: Neutral, at: str) -> dict[str, Any]:
    kept = {}
    for key, value in body.items():
        if key not in neutral:
            kept[key] = value
        elif not any(type(value) is type(known) and value == known for known in _variants(neutral[key])):
            allowed = " | ".join(msgspec.json.encode(known).decode() for known in neutral[key])
            raise RequestError("unsupported_parameter", f"{key!r} is not supported here", f"{at}.{key}", allowed)
    return kept


def _variants(values: tuple[Any, ...]) -> list[Any]:
    return [variant for value in values for variant in ([value, float(value)] if type(value) is int else [value])]
