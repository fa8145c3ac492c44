"""Reads a spec from `lukewarm.yaml`, `.json` or `[tool.lukewarm]` in `pyproject.toml`; errors name file:line:key."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from lukewarm.predictors.errors import SpecError, did_you_mean
from lukewarm.predictors.spec import ModelSpec

FILE_NAMES = ("lukewarm.yaml", "lukewarm.yml", "lukewarm.json", "pyproject.toml")
# what `predictor` alone says of the other keys
_OWN_CLASS = {"task": "custom", "backend": "custom", "precision": "none"}
_MAX_CHARS = 1_000_000
_MAX_DEPTH = 32  # deeper nesting takes YAML's reader minutes
Lines = dict[str, int]  # JSONPath -> line of the key, from 1


def find(directory: Path) -> Path:
    """The spec file in a directory; SpecError says how to make one."""
    for name in FILE_NAMES:
        path = directory / name
        if path.is_file() and (name != "pyproject.toml" or "[tool.lukewarm" in path.read_text("utf-8", "replace")):
            return path
    raise SpecError(f"no lukewarm.yaml and no [tool.lukewarm] in {directory}; run: lukewarm init")


def load(path: Path) -> ModelSpec:
    """Read one spec. `path` is a file or a directory that holds one. Raises SpecError."""
    if path.is_dir():
        path = find(path)
    try:
        text = path.read_text("utf-8-sig")  # editors on Windows begin a file with a mark
    except FileNotFoundError as error:
        raise SpecError("no such file; run: lukewarm init", str(path)) from error
    except UnicodeDecodeError as error:
        raise SpecError(f"not UTF-8 (byte {error.start})", str(path)) from error
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", str(path)) from error
    if len(text) > _MAX_CHARS:
        raise SpecError(f"has {len(text):,} characters; a spec has at most {_MAX_CHARS:,}", str(path))
    value, lines = parse(path, text)
    return decode(value, str(path), lines)


def decode(value: Any, file: str = "spec", lines: Lines | None = None) -> ModelSpec:
    """Turn plain data into a ModelSpec. Raises SpecError with the place."""
    lines = lines or {}
    if not isinstance(value, dict):
        raise SpecError(f"a spec is a mapping of keys, not {type(value).__name__}", file)
    if value.get("predictor") is not None:
        value = {**_OWN_CLASS, **value}
    try:
        spec = msgspec.convert(value, ModelSpec)
    except msgspec.ValidationError as error:
        raise _explain(str(error), value, file, lines) from error
    _check_own_class(spec, file, lines)
    return spec


def _check_own_class(spec: ModelSpec, file: str, lines: Lines) -> None:
    """`predictor` and the keys that choose a backend must not contradict each other."""
    own = spec.predictor is not None
    for key in ("task", "backend"):
        word = getattr(spec, key)
        if own and word != _OWN_CLASS[key]:
            message = f"{word!r} is not for a class of your own (predictor); leave {key} out"
        elif not own and key == "backend" and word == "custom":
            message = "'custom' is a class of your own; name it: predictor: my_module:MyPredictor"
        else:
            continue
        raise SpecError(message, ":".join(part for part in (file, str(lines.get(f"$.{key}", "")), key) if part))


def _explain(text: str, value: dict[str, Any], file: str, lines: Lines) -> SpecError:
    message, _, path = text.partition(" - at `")
    path = path.rstrip("`")
    key_error = path.startswith("key")  # msgspec: "at `key` in `$.env`"
    path = re.sub(r"\Akey` in `", "", path) or "$"
    if match := re.match(r"Object contains unknown field `(.*)`", message):
        field = match.group(1)
        known = _known_fields(path)
        message = f"unknown key {field!r}{did_you_mean(field, known)}; known: {', '.join(known)}"
        path = f"{path}.{field}"
    elif match := re.match(r"Object missing required field `(.*)`", message):
        message = f"missing key {match.group(1)!r}"
    elif "matching regex" in message:
        message = f"{'key' if key_error else 'value'} {_shown(value, path)} is not of the allowed form: {_form(path)}"
    else:
        message = (
            message[0].lower()
            + message[1:]
            + (f", got {_shown(value, path)}" if path != "$" and "got" not in message else "")
        )
    if path.endswith(".python"):
        message += " (quote it: python: '3.11')"
    key = path.removeprefix("$.").removeprefix("$")
    line = lines.get(path) or lines.get(re.sub(r"(\.[^.]+|\[[^\]]*\])\Z", "", path))
    where = ":".join(part for part in (file, str(line or ""), key) if part)
    return SpecError(message, where)


def _known_fields(path: str) -> list[str]:
    node: Any = ModelSpec
    for part in path.removeprefix("$").strip(".").split("."):
        if part:
            field = next((f for f in msgspec.structs.fields(node) if f.encode_name == part), None)
            if field is None or not (isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)):
                return []
            node = field.type
    return sorted(f.encode_name for f in msgspec.structs.fields(node))


def _form(path: str) -> str:
    from lukewarm.predictors.spec import json_schema

    definitions = json_schema()["$defs"]
    node: Any = definitions["ModelSpec"]
    for part in re.findall(r"\.([^.\[]+)|\[([^\]]*)\]", path):
        if "$ref" in node:
            node = definitions[node["$ref"].rsplit("/", 1)[1]]
        properties = node.get("properties", {})
        node = properties.get(part[0]) or node.get("items") or node.get("additionalProperties") or node
        node = next((option for option in node.get("anyOf", []) if "pattern" in option or "$ref" in option), node)
    if "propertyNames" in node and "pattern" not in node:
        node = node["propertyNames"]
    return str(node.get("description") or node.get("pattern") or "see: lukewarm schema")


def _shown(value: Any, path: str) -> str:
    for name, index in re.findall(r"\.([^.\[]+)|\[([^\]]*)\]", path):
        try:
            value = value[name] if name else value[int(index)]
        except (KeyError, IndexError, TypeError, ValueError):
            return ""
    return repr(value)[:80]


def parse(path: Path, text: str) -> tuple[Any, Lines]:
    """Plain data and the line of every key, by the file's suffix. Raises SpecError."""
    if path.suffix == ".toml":
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SpecError(f"not TOML: {error}", str(path)) from error
        tools = document.get("tool")
        table = tools.get("lukewarm") if isinstance(tools, dict) else None
        if table is None:
            raise SpecError("no [tool.lukewarm] table; run: lukewarm init", str(path))
        return table, _toml_lines(text)
    if path.suffix == ".json":
        return _parse_json(path, text), {}
    return _parse_yaml(path, text)


def _parse_json(path: Path, text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise SpecError("the key stands twice", f"{path}:{twice}")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise SpecError(f"not JSON: {error.msg}", f"{path}:{error.lineno}") from error
    except (ValueError, RecursionError) as error:
        raise SpecError(f"not JSON: {error}", str(path)) from error


def _check_tokens(path: Path, text: str) -> None:
    """Raise SpecError for aliases, which let a few lines unfold into gigabytes, and for endless nesting."""
    import yaml

    depth = 0
    for token in yaml.scan(text):
        if isinstance(token, yaml.AliasToken):
            raise SpecError("YAML aliases (*name) are not supported", f"{path}:{token.start_mark.line + 1}")
        kind = type(token).__name__
        # a list may stand as deep as its key, and then has no end of its own
        depth += kind.endswith("StartToken") - kind.endswith("EndToken")
        if depth > _MAX_DEPTH:
            raise SpecError("nested too deeply", f"{path}:{token.start_mark.line + 1}")


def _parse_yaml(path: Path, text: str) -> tuple[Any, Lines]:
    import yaml

    lines: Lines = {}

    def walk(node: yaml.Node, where: str) -> None:
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, child in node.value:
                line = key.start_mark.line + 1
                if not isinstance(key, yaml.ScalarNode):
                    raise SpecError("a key must be a plain word", f"{path}:{line}")
                if key.tag != "tag:yaml.org,2002:str":
                    raise SpecError("a key must be text; quote it", f"{path}:{line}:{key.value}")
                if key.value in seen:
                    raise SpecError("the key stands twice", f"{path}:{line}:{key.value}")
                seen.add(key.value)
                lines[f"{where}.{key.value}"] = line
                walk(child, f"{where}.{key.value}")
        elif isinstance(node, yaml.SequenceNode):
            for index, child in enumerate(node.value):
                lines[f"{where}[{index}]"] = child.start_mark.line + 1
                walk(child, f"{where}[{index}]")

    try:
        _check_tokens(path, text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            raise SpecError("the file is empty; run: lukewarm init", str(path))
        walk(node, "$")
        return yaml.safe_load(text), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise SpecError(f"not YAML: {error.problem or error.context}", where) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise SpecError(f"not YAML: {error}", str(path)) from error


def _toml_lines(text: str) -> Lines:
    """Lines of the keys under [tool.lukewarm]; tomllib keeps none, so this reads table headers and `key =` only."""
    lines: Lines = {}
    table: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[tool\.lukewarm((?:\.[\w-]+)*)\]", line):
            table = "$" + header.group(1)
            lines[table] = number
        elif line.lstrip().startswith("["):
            table = None
        elif table is not None and (key := re.match(r"\s*([\w-]+(?:\.[\w-]+)*)\s*=", line)):
            lines[f"{table}.{key.group(1)}"] = number
    return lines
