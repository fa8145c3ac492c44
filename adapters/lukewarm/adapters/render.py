"""Turns checked values into Python, YAML, JSON and Dockerfile text; no value can leave the place it is put in."""

from __future__ import annotations

import ast
import io
import json
import math
import re
import shlex
import tokenize
from collections.abc import Mapping, Sequence
from typing import Any

from lukewarm.predictors.errors import SpecError

PLACEHOLDER = re.compile(r"\A[A-Z][A-Z0-9_]*_\Z")  # NAME_ in a template stands for one literal
IMAGE = re.compile(
    r"\A[a-z0-9][a-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9._-]+)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?\Z"
)


PACKAGE = re.compile(r"\A[a-z0-9][a-z0-9+.-]*(=[A-Za-z0-9.+:~-]+)?\Z")
VARIABLE = re.compile(r"\A[A-Za-z_][A-Za-z0-9_]*\Z")


class Raw(str):
    """Python source that a template may hold beside literals. Only adapters make it, never from a spec's value."""

    __slots__ = ()


def plain_data(value: Any, where: str) -> Any:
    """A copy of `value` if JSON can hold it (finite numbers, valid Unicode). Raises SpecError with the place."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise SpecError(f"{value} is not a finite number", where)
        return value
    if isinstance(value, str):
        if any("\ud800" <= char <= "\udfff" for char in value) or "\x00" in value:
            raise SpecError(f"{value!r:.60} is not valid Unicode text", where)
        return value
    if isinstance(value, dict):
        checked = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise SpecError(f"the key {key!r} is not a string; quote it", where)
            checked[plain_data(key, where)] = plain_data(item, f"{where}.{key}")
        return checked
    if isinstance(value, list | tuple):
        return [plain_data(item, f"{where}[{index}]") for index, item in enumerate(value)]
    raise SpecError(f"a {type(value).__name__} cannot be written; quote it or use plain data", where)


def literal(value: Any) -> str:
    """Python source of plain data, ASCII only, in double quotes where that needs no escape."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)}: {literal(item)}" for key, item in value.items()) + "}"
    text = ascii(plain_data(value, "value"))
    if text.startswith("'") and '"' not in text:
        return f'"{text[1:-1]}"'
    return text


def python_source(template: str, values: Mapping[str, Any]) -> str:
    """Fill a template that is itself valid Python: every `NAME_` is replaced by the literal of `values["NAME"]`.

    Works on tokens, so placeholders in strings and comments stay text, and a value stays one expression.
    """
    template = template.lstrip("\n")
    lines = template.splitlines(keepends=True)
    found: set[str] = set()
    edits: list[tuple[int, int, int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(template).readline):
        if token.type == tokenize.NAME and PLACEHOLDER.match(token.string):
            name = token.string[:-1]
            found.add(name)
            edits.append((token.start[0] - 1, token.start[1], token.end[1], literal(values[name])))
    if found != set(values):
        raise AssertionError(f"template and values differ: {sorted(found ^ set(values))}")
    for row, start, end, text in reversed(edits):
        lines[row] = lines[row][:start] + text + lines[row][end:]
    source = "".join(lines)
    ast.parse(source)
    return source


def yaml_source(value: Any, header: str = "") -> str:
    """YAML of plain data, in the order given, ASCII only, so that no reader sees another line break than we do."""
    import yaml

    comment = f"# {header}\n" if header else ""
    body = yaml.safe_dump(plain_data(value, "value"), sort_keys=False, allow_unicode=False, width=1000)
    return comment + str(body)


def json_source(value: Any) -> str:
    """Indented JSON of plain data."""
    return json.dumps(plain_data(value, "value"), indent=1) + "\n"


def image_reference(value: Any, where: str) -> str:
    """A container image's name, by the registry's grammar. Raises SpecError."""
    if not isinstance(value, str) or not IMAGE.match(value):
        raise SpecError(f"{value!r:.80} is not an image reference like python:3.11-slim", where)
    return value


def docker_env(env: Mapping[str, str]) -> str:
    """One ENV instruction, or nothing: values double-quoted, nothing in them expands."""
    for name in env:
        if not VARIABLE.match(name):
            raise SpecError(f"{name!r:.80} is not the name of a variable", "env")
    pairs = " ".join(f"{name}={_docker_quote(value)}" for name, value in env.items())
    return f"ENV {pairs}\n" if pairs else ""


def _docker_quote(value: str) -> str:
    plain_data(value, "env")
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise SpecError("a control character cannot stand in an environment variable", "env")
    return '"' + re.sub(r'([\\"$])', r"\\\1", value) + '"'


def docker_exec(instruction: str, words: Sequence[str]) -> str:
    """RUN, CMD, COPY or ENTRYPOINT in the JSON form, which no shell reads. `$` would be expanded by COPY: refused."""
    if instruction == "COPY" and any("$" in word for word in words):
        raise SpecError("a file name with $ cannot be copied by a Dockerfile", "include")
    return f"{instruction} {json.dumps(list(words))}\n"


def docker_apt(packages: Sequence[str]) -> str:
    """One layer that installs Debian packages, or nothing."""
    if not packages:
        return ""
    for name in packages:
        if not PACKAGE.match(name):
            raise SpecError(f"{name!r:.80} is not the name of a Debian package", "system_packages")
    names = " ".join(shlex.quote(name) for name in packages)
    return f"RUN apt-get update && apt-get install -y --no-install-recommends {names} && rm -rf /var/lib/apt/lists/*\n"


def merge(base: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `extra` laid over it; mappings merge, everything else is replaced."""
    merged = dict(base)
    for key, value in extra.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
