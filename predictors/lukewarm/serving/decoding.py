"""Strict decoding: bytes to JSON to a typed value. A mistake is a RequestError: code, path, what is allowed."""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar, get_type_hints

import msgspec

from lukewarm.predictors.errors import RequestError, did_you_mean

MAX_DEPTH = 64
MAX_WHOLE_FLOATS = 64
T = TypeVar("T")
_SURROGATE = re.compile(rb"\\u[dD][89abAB]", re.ASCII)


class _Twice(dict[str, Any]):
    """An object in which a key stands twice; kept until the path to it is known."""

    key = ""


def parse_json(body: bytes) -> Any:
    """Bytes to plain data. Refuses what parsers disagree on: NaN, lone surrogates, duplicate keys, deep nesting."""
    if not body.strip():
        raise RequestError("empty_body", "the body is empty", allowed="a JSON object")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError("invalid_utf8", f"the body is not UTF-8 (byte {error.start})", allowed="UTF-8") from error
    found: list[str] = []
    try:
        msgspec.json.decode(body)  # the stricter parser: no NaN, no lone surrogates, no out-of-range numbers
        value = json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, found))
    except msgspec.ValidationError as error:
        raise RequestError("out_of_range", _lower(error), allowed="finite numbers") from error
    except (msgspec.DecodeError, json.JSONDecodeError) as error:
        raise _syntax_error(body, error) from error
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:  # an integer of thousands of digits
        raise RequestError("out_of_range", "a number has too many digits", allowed="64-bit numbers") from error
    if found:
        path = _path_of_twice(value) or "$"
        raise RequestError("duplicate_key", f"the key {found[0]!r} stands twice", path=path, allowed="each key once")
    if _depth_exceeds(value, MAX_DEPTH):
        raise _too_deep()
    return value


def convert(value: Any, to: type[T], *, keys: tuple[str, ...] = ()) -> T:
    """Plain data to a typed value. `keys` are further keys that the caller may use here, named in messages.

    5.0 is taken where an integer is wanted, as JSON Schema has it; 5.5 is not.
    """
    for _ in range(MAX_WHOLE_FLOATS):
        try:
            return msgspec.convert(value, to)
        except msgspec.ValidationError as error:
            found = re.search(r"got `float` - at `(.*)`\Z", str(error), re.DOTALL)
            whole = _whole(value, _steps(found.group(1))) if found else None
            if whole is None:
                raise _explain(str(error), value, to, keys) from error
            value = whole
        except RecursionError as error:
            raise _too_deep() from error
    raise RequestError("wrong_type", "too many numbers with a decimal point where integers are wanted")


def require_object(value: Any, at: str = "$") -> dict[str, Any]:
    """The value as a JSON object, or a RequestError."""
    if not isinstance(value, dict):
        raise RequestError("wrong_type", f"expected an object, got {json_type(value)}", path=at, allowed="object")
    return value


def json_type(value: Any) -> str:
    """The JSON name of a value's type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    for kind, name in ((str, "string"), (int, "integer"), (float, "number"), (list, "array"), (dict, "object")):
        if isinstance(value, kind):
            return name
    return type(value).__name__


def check_json(value: Any, at: str = "$") -> None:
    """The checks of parse_json for data that some other server has parsed: finite numbers, encodable strings, depth."""
    stack: list[tuple[Any, str, int]] = [(value, at, 0)]
    while stack:
        node, path, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise _too_deep()
        if isinstance(node, dict):
            if any(not isinstance(key, str) for key in node):
                raise RequestError("wrong_type", "a key is no string", path, "string keys")
            stack.extend((child, f"{path}.{key}", depth + 1) for key, child in node.items())
            node = "".join(node)
        elif isinstance(node, (list, tuple)):
            stack.extend((child, f"{path}[{index}]", depth + 1) for index, child in enumerate(node))
        if isinstance(node, float) and (node != node or node in (float("inf"), float("-inf"))):
            raise RequestError("out_of_range", f"{node} is not a JSON number", path=path, allowed="finite numbers")
        if isinstance(node, str):
            try:
                node.encode("utf-8")
            except UnicodeEncodeError as error:
                raise RequestError(
                    "lone_surrogate", "a string holds half a surrogate pair", path=path, allowed="valid Unicode"
                ) from error


def _object(pairs: list[tuple[str, Any]], found: list[str]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    seen: set[str] = set()
    twice = _Twice(value)
    twice.key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    found.append(twice.key)
    return twice


def _path_of_twice(value: Any) -> str | None:
    stack: list[tuple[Any, str]] = [(value, "$")]
    while stack:
        node, path = stack.pop()
        if isinstance(node, _Twice):
            return f"{path}.{node.key}"
        if isinstance(node, dict):
            stack.extend((child, f"{path}.{key}") for key, child in node.items())
        elif isinstance(node, list):
            stack.extend((child, f"{path}[{index}]") for index, child in enumerate(node))
    return None


def _depth_exceeds(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        level = [
            child
            for node in level
            if isinstance(node, (dict, list))
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True


def _too_deep() -> RequestError:
    return RequestError("too_deep", "the body is nested too deep", allowed=f"at most {MAX_DEPTH} levels")


def _syntax_error(body: bytes, error: Exception) -> RequestError:
    message = str(error)
    if "surrogate" in message or (_SURROGATE.search(body) and _is_json_but_for_surrogates(body)):
        return RequestError("lone_surrogate", "a string holds half a surrogate pair", allowed="valid Unicode")
    if re.search(rb"\b(NaN|Infinity)\b", body) and _is_json(body.decode("utf-8")):
        return RequestError("out_of_range", "NaN and Infinity are not JSON numbers", allowed="finite numbers")
    return RequestError("invalid_json", message, allowed="JSON (RFC 8259)")


def _is_json_but_for_surrogates(body: bytes) -> bool:
    return _is_json(_SURROGATE.sub(rb"\\u00", body).decode("utf-8"))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _explain(text: str, value: Any, to: type, keys: tuple[str, ...]) -> RequestError:
    message, _, path = text.partition(" - at `")
    path = re.sub(r"\Akey` in `", "", path).rstrip("`") or "$"
    known = sorted({*field_names(to, path), *(keys if path == "$" else ())})
    if match := re.match(r"Object contains unknown field `(.*)`", message, re.DOTALL):
        field = match.group(1)
        hint = did_you_mean(field, known)
        return RequestError("unknown_key", f"unknown key {field!r}{hint}", f"{path}.{field}", ", ".join(known))
    if match := re.match(r"Object missing required field `(.*)`", message):
        return RequestError("missing_key", f"the key {match.group(1)!r} is missing", path, ", ".join(known))
    if match := re.match(r"Expected `(.*?)`, got `(.*?)`", message):
        words = [word for word in match.group(1).split(" | ") if word != "null"]  # null only says: left out
        allowed = " | ".join(_json_word(word) for word in words)
        return RequestError("wrong_type", f"expected {allowed}, got {_json_word(match.group(2))}", path, allowed)
    if message.startswith("Invalid enum value"):
        return RequestError("out_of_range", _lower(message), path, "one of the values in /openapi.json")
    if "base64" in message:
        return RequestError("invalid_base64", "not base64", path, "base64 (RFC 4648, with padding)")
    message = re.sub(r"`(\w+)`", lambda match: _json_word(match.group(1)), message)
    return RequestError("out_of_range", _lower(message), path, message.removeprefix("Expected "))


def field_names(to: Any, path: str) -> list[str]:
    """The keys that may stand at a path ($.a[0].b) of a request type; empty if it is no struct."""
    node: Any = to
    for part in re.findall(r"\.([^.\[]+)", path):
        hints = get_type_hints(node) if _is_struct(node) else {}
        node = next((inner for inner in _structs_in(hints.get(part))), None)
        if node is None:
            return []
    return [field.encode_name for field in msgspec.structs.fields(node)] if _is_struct(node) else []


def _steps(path: str) -> list[str | int]:
    return [name or int(index) for name, index in re.findall(r"\.([^.\[]+)|\[(\d+)\]", path)]


def _whole(value: Any, steps: list[str | int]) -> Any:
    """A copy in which the float at that place is an integer; None if it is not a whole number."""
    if not steps:
        return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**63 else None
    key = steps[0]
    try:
        inner = _whole(value[key], steps[1:])
    except (KeyError, IndexError, TypeError):
        return None
    if inner is None:
        return None
    copy = list(value) if isinstance(value, list) else dict(value)
    copy[key] = inner  # type: ignore[index]
    return copy


def _structs_in(hint: Any) -> list[type]:
    if _is_struct(hint):
        return [hint]
    return [found for inner in getattr(hint, "__args__", ()) for found in _structs_in(inner)]


def _is_struct(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, msgspec.Struct)


_WORDS = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "bytes": "base64 string"}


def _json_word(word: str) -> str:
    return _WORDS.get(word, word)


def _lower(error: object) -> str:
    text = str(error)
    return text[0].lower() + text[1:]
