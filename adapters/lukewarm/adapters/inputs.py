"""A task's request as typed parameters and as JSON Schema, for platforms that want the types in their own files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import inspect

from lukewarm.adapters.render import literal
from lukewarm.predictors.spec import Task
from lukewarm.predictors.tasks import TASKS

DESCRIPTIONS = {
    "prompt": "Text to continue; give this or messages.",
    "messages": "Turns of a chat, each with role and content.",
    "max_new_tokens": "At most so many new tokens.",
    "temperature": "0 is greedy.",
    "top_k": "Sample from the k likeliest tokens; 0 is off.",
    "top_p": "Keep the likeliest that sum to p; 1 is off.",
    "repetition_penalty": "Over 1: fewer repetitions.",
    "stop": "Strings that end the text.",
    "seed": "Same seed, same text.",
    "ignore_eos": "Always max_new_tokens tokens, for timing.",
    "text": "Input text.",
    "text_pair": "The second text, where the model judges two.",
    "src_lang": "Language of the text, by the model's code.",
    "tgt_lang": "Language of the answer, by the model's code.",
    "num_beams": "Beams of the search.",
    "length_penalty": "Over 1 favours longer texts.",
    "data": "An image (PNG, JPEG ...) or a sound (WAV ...).",
    "language": "What is spoken, such as en; left out, it is heard.",
    "task": "transcribe, or translate to English.",
    "timestamps": "With segments and their times.",
    "inputs": "Keyword arguments of the model.",
}


# msgspec's name, Cog's, JSON Schema's
BOUNDS = (
    ("ge", "ge", "minimum"),
    ("le", "le", "maximum"),
    ("min_length", "min_length", "minLength"),
    ("max_length", "max_length", "maxLength"),
)


@dataclass(frozen=True, kw_only=True)
class InputField:
    """One input: its Python annotation, what the platform may check, and its JSON Schema."""

    name: str
    annotation: str
    required: bool
    keywords: dict[str, Any]  # of `cog.Input`
    schema: dict[str, Any]

    @property
    def source(self) -> str:
        """The parameter as Cog's static reader wants it."""
        words = ", ".join(f"{key}={literal(value)}" for key, value in self.keywords.items())
        return f"{self.name}: {self.annotation} = Input({words})"


def task_inputs(task: Task) -> list[InputField]:
    """The inputs of a task, in the order of its request."""
    request = inspect.type_info(TASKS[task][0])
    assert isinstance(request, inspect.StructType)
    return [_field(field, order) for order, field in enumerate(request.fields)]


def _field(field: inspect.Field, order: int) -> InputField:
    kind, optional = field.type, False
    if isinstance(kind, inspect.UnionType):
        optional = any(isinstance(one, inspect.NoneType) for one in kind.types)
        kind = next(one for one in kind.types if not isinstance(one, inspect.NoneType))
    annotation, schema = _type(kind)
    keywords: dict[str, Any] = {} if field.required else {"default": field.default}
    keywords["description"] = DESCRIPTIONS.get(field.name, field.name)
    # Cog knows closed bounds only; open ones and those of list items are checked by our own request types
    for ours, cogs, json_name in BOUNDS:
        value = getattr(kind, ours, None)
        if value is not None and annotation in ("int", "float", "str"):
            keywords[cogs] = value
            schema[json_name] = value
    schema = {
        "title": field.name.replace("_", " ").title(),
        "description": keywords["description"],
        "x-order": order,
    } | schema
    if not field.required and field.default is not None and field.default is not msgspec.NODEFAULT:
        schema["default"] = field.default
    if optional:
        schema["nullable"] = True
        annotation = f"{annotation} | None"
    return InputField(
        name=field.name, annotation=annotation, required=field.required, keywords=keywords, schema=schema
    )  # fmt: skip


def _type(kind: inspect.Type) -> tuple[str, dict[str, Any]]:
    """Python annotation and JSON Schema of one type."""
    if isinstance(kind, inspect.BoolType):
        return "bool", {"type": "boolean"}
    if isinstance(kind, inspect.IntType):
        return "int", {"type": "integer"}
    if isinstance(kind, inspect.FloatType):
        return "float", {"type": "number"}
    if isinstance(kind, inspect.StrType):
        return "str", {"type": "string"}
    if isinstance(kind, inspect.LiteralType):
        return "str", {"type": "string", "enum": list(kind.values)}
    if isinstance(kind, inspect.BytesType):
        return "Path", {"type": "string", "format": "uri"}
    if isinstance(kind, inspect.ListType):
        annotation, schema = _type(kind.item_type)
        return f"list[{annotation}]", {"type": "array", "items": schema}
    if isinstance(kind, inspect.StructType | inspect.DictType):
        return "dict", {"type": "object"}
    raise AssertionError(f"no Cog type for {kind}")  # a task's request has none: the test over all tasks holds it
