"""From the signature of a user's `predict` to a strict type, and from a request's inputs to its keyword arguments."""

from __future__ import annotations

import copy
import functools
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from lukewarm.predictors.errors import BundleError, RequestError, did_you_mean


def inputs_struct(path: str, predict: Callable[..., Any]) -> type[msgspec.Struct]:
    """A struct with the parameters of `predict` (a bound method) and their defaults. Raises BundleError.

    A parameter without annotation takes anything; `**kwargs` takes further keys.
    """
    if inspect.isasyncgenfunction(predict):
        raise BundleError(f"{path}: predict is an async generator; make it a plain generator (def, yield)")
    try:
        hints = typing.get_type_hints(predict, include_extras=True)
    except Exception as error:  # annotations are the user's code
        raise BundleError(f"{path}: the annotations of predict cannot be read: {error}") from error
    fields: list[Any] = []
    open_ended = False
    for parameter in inspect.signature(predict).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            open_ended = True
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise BundleError(f"{path}: predict takes {parameter} by position; requests give keyword arguments only")
        else:
            fields.append(_field(parameter, hints.get(parameter.name, Any)))
    try:
        struct = msgspec.defstruct("Inputs", fields, kw_only=True, forbid_unknown_fields=not open_ended)
        _refuse_foreign(struct, path)
    except (TypeError, ValueError) as error:
        raise BundleError(f"{path}: predict has a parameter that JSON cannot carry: {error}") from error
    return struct


def read_inputs(struct: type[msgspec.Struct], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments for `predict`, converted and checked. Raises RequestError with the place in the request."""
    given = {name: _bare(value) if name in _of_bytes(struct) else value for name, value in inputs.items()}
    try:
        value = msgspec.convert(given, struct)
    except msgspec.ValidationError as error:
        raise _explain(str(error), struct) from error
    arguments = {name: getattr(value, name) for name in struct.__struct_fields__}
    further = {} if struct.__struct_config__.forbid_unknown_fields else inputs
    return {**further, **arguments}


@functools.cache
def _of_bytes(struct: type[msgspec.Struct]) -> frozenset[str]:
    """The parameters that take bytes, or a list of them."""
    fields = typing.cast(Any, msgspec.inspect.type_info(struct)).fields
    kinds = {field.name: _types_in(field.type) for field in fields}
    return frozenset(n for n, found in kinds.items() if any(isinstance(k, msgspec.inspect.BytesType) for k in found))


def _bare(value: Any) -> Any:
    """What a `data:` URI holds in base64, as browsers and some clients send files; anything else as it is."""
    if isinstance(value, list):
        return [_bare(item) for item in value]
    if not isinstance(value, str) or not value.startswith("data:"):
        return value
    head, comma, data = value.partition(",")
    return data if comma and head.endswith(";base64") else value


def _field(parameter: inspect.Parameter, annotation: Any) -> Any:
    default = parameter.default
    if default is parameter.empty:
        return (parameter.name, annotation)
    if default is None:
        annotation = typing.Optional[annotation]  # noqa: UP045 - `x: int = None` is common; | fails for strings
    return (parameter.name, annotation, msgspec.field(default_factory=lambda: copy.deepcopy(default)))


def _refuse_foreign(struct: type[msgspec.Struct], path: str) -> None:
    """msgspec accepts foreign classes until one comes; say so at setup."""
    for field in typing.cast(Any, msgspec.inspect.type_info(struct)).fields:
        foreign = [kind for kind in _types_in(field.type) if isinstance(kind, msgspec.inspect.CustomType)]
        if foreign:
            name = f"{foreign[0].cls.__module__}.{foreign[0].cls.__qualname__}"
            raise BundleError(
                f"{path}: parameter {field.name!r} of predict is a {name}, which JSON cannot carry; take str, bytes "
                "(base64), numbers, lists, dicts or dataclasses and convert inside"
            )


def _types_in(kind: Any) -> list[Any]:
    inner = [getattr(kind, name, None) for name in ("item_type", "key_type", "value_type")]
    inner += [*getattr(kind, "types", ()), *getattr(kind, "item_types", ())]
    return [kind, *(found for child in inner if child is not None for found in _types_in(child))]


def _explain(text: str, struct: type[msgspec.Struct]) -> RequestError:
    """The same codes as for the built-in tasks."""
    message, _, where = text.partition(" - at `")
    where = re.sub(r"\Akey` in `", "", where).rstrip("`") or "$"
    path = "$.inputs" + where.removeprefix("$")
    known = sorted(struct.__struct_fields__) if where == "$" else []
    if match := re.match(r"Object contains unknown field `(.*)`", message, re.DOTALL):
        word = match.group(1)
        text = f"unknown key {word!r}{did_you_mean(word, known)}"
        return RequestError("unknown_key", text, f"{path}.{word}", ", ".join(known))
    if match := re.match(r"Object missing required field `(.*)`", message):
        return RequestError("missing_key", f"the key {match.group(1)!r} is missing", path, ", ".join(known))
    if match := re.match(r"Expected `(.*?)`, got `(.*?)`", message):
        return RequestError("wrong_type", f"expected {match.group(1)}, got {match.group(2)}", path, match.group(1))
    if message.startswith("Invalid base64"):
        return RequestError("invalid_base64", "not base64", path, "base64 (RFC 4648, with padding)")
    return RequestError("out_of_range", message[0].lower() + message[1:], path)
