"""Writes the generated parts of docs/: `python docs/build.py` (make docs). A test holds them equal to the code."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import typing
from collections.abc import Iterable
from pathlib import Path

import msgspec

from lukewarm.predictors import spec
from lukewarm.predictors.registry import BACKENDS
from lukewarm.predictors.tasks import TASKS

ROOT = Path(__file__).parents[1]
LAYERS = ("predictors", "serving", "convert", "adapters", "images", "testing", "benchmarks", "costs", "cli")


def modules() -> str:
    """One line per module: its name and the first sentence of its docstring."""
    lines = []
    for package in LAYERS:
        folder = next(ROOT.glob(f"*/lukewarm/{package}"))
        lines.append(f"\n**`lukewarm.{package}`** ({folder.relative_to(ROOT)}/)\n")
        for path in sorted(folder.rglob("*.py"), key=lambda path: (len(path.relative_to(folder).parts), str(path))):
            doc = ast.get_docstring(ast.parse(path.read_text("utf-8")))
            name = path.relative_to(folder).as_posix()
            if doc and name != "__init__.py":
                lines.append(f"- `{name.removesuffix('/__init__.py')}` {' '.join(doc.split(chr(10) * 2)[0].split())}")
    return "\n".join(lines).strip() + "\n"


def spec_keys() -> str:
    """Every key of lukewarm.yaml with type, default and the comment beside it in spec.py."""
    rows = ["| key | type | default | |", "|---|---|---|---|"]
    rows += _rows(spec.ModelSpec, "")
    return "\n".join(rows) + "\n"


def _rows(kind: type[msgspec.Struct], prefix: str) -> list[str]:
    comments = dict(re.findall(r"^    (\w+):.*?#\s*(.+)$", inspect.getsource(kind), re.MULTILINE))
    rows = []
    for field in msgspec.structs.fields(kind):
        name = f"{prefix}{field.encode_name}"
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            rows.append(f"| **{name}** | section | | {inspect.getdoc(field.type)} |")
            rows += _rows(field.type, f"{name}.")
            continue
        default = "required" if field.required else _default(field)
        rows.append(
            f"| `{name}` | {_type(field.type)} | {default} | {comments.get(field.name, '')} |".replace("|  |", "| |")
        )
    return rows


def _default(field: msgspec.structs.FieldInfo) -> str:
    value = (
        field.default_factory()
        if field.default is msgspec.NODEFAULT and callable(field.default_factory)
        else field.default
    )
    return "" if value in (None, [], {}) else f"`{value}`"


def _type(kind: object) -> str:
    schema = msgspec.json.schema(typing.cast(type, kind))
    schema = schema.get("$defs", {}).get(str(schema.get("$ref", "")).rsplit("/", 1)[-1], schema)
    options = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
    return " or ".join(_option(option) for option in options)


def _option(schema: dict[str, typing.Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_option(schema['items'])}"
    if schema.get("type") == "object":
        return "mapping"
    signs = {"minimum": "≥", "maximum": "≤", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[key]}" for key, sign in signs.items() if key in schema]
    return " ".join([str(schema.get("type", "any")), *limits])


def tasks() -> str:
    """The support table: task x backend -> precisions, from the backends' own mappings."""
    backends = [row.name for row in BACKENDS if row.name not in ("echo", "custom")]
    support = {name: BACKENDS.load(name).support for name in backends}
    rows = [f"| task | {' | '.join(f'`{name}`' for name in backends)} |", "|---" * (len(backends) + 1) + "|"]
    for task in TASKS:
        if task != "custom":
            cells = (", ".join(support[name].get(task, ())) or "–" for name in backends)
            rows.append(f"| {task} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def architectures() -> str:
    """Which model classes each task's converters take."""
    from lukewarm.convert import architectures, embeddings, encoders, image_to_text, speech_to_text, text_to_text

    def names(found: Iterable[str]) -> str:
        return ", ".join(f"`{name}`" for name in sorted(found))

    lines = [
        f"- text-generation on `ct2`: {names(architectures.CT2)}",
        f"- text-generation on `ort`: every decoder of transformers that torch.onnx can export; it is tried at "
        f"conversion. Known not to, by model type: {names(architectures.NO_GRAPH)}",
        f"- text-to-text on `hf` and `ort`: {names(text_to_text.ORT)}",
        f"- text-to-text on `hf` alone: {names(text_to_text.ARCHITECTURES - text_to_text.ORT)}",
        "- text-to-text on `ort` alone: students of Firefox Translations (`model*.bin` and `vocab*.spm`)",
        f"- text-to-text on `ct2`: {names(text_to_text.CT2)}",
        f"- embeddings on `ct2`, by model type: {names(embeddings.CT2)}; `hf` takes every encoder, `ort` all but, by "
        f"model type: {names(encoders.NO_GRAPH)}",
        "- text-classification: every class of transformers named `...ForSequenceClassification`, on `ort` with the "
        "same exceptions",
        f"- image-to-text on `hf` and `ort`: {names(image_to_text.GRAPHS)}",
        f"- image-to-text on `hf` alone: {names(image_to_text.PROCESSED)}",
        f"- speech-to-text on `hf`, `ort` and `ct2`: `{speech_to_text.WHISPER}`",
        f"- speech-to-text on `hf` and `ort`: {names(speech_to_text.CTC)}",
        f"- speech-to-text on `hf` alone: {names(speech_to_text.PROCESSED)}",
    ]
    return "\n".join(lines) + "\n"


# file -> {marker: function}; a part stands between <!-- marker --> and <!-- /marker -->
PARTS = {
    "docs/architecture.md": {"modules": modules},
    "docs/spec.md": {"keys": spec_keys},
    "docs/tasks.md": {"tasks": tasks, "architectures": architectures},
}


def rendered(name: str) -> str:
    """The file's text with its generated parts made anew."""
    text = (ROOT / name).read_text("utf-8")
    for marker, make in PARTS[name].items():
        pattern = rf"(<!-- {marker} -->\n).*?(<!-- /{marker} -->)"
        text, found = re.subn(pattern, lambda match, make=make: match[1] + make() + match[2], text, flags=re.DOTALL)
        if found != 1:
            sys.exit(f"{name}: the marker <!-- {marker} --> must stand once")
    return text


if __name__ == "__main__":
    for file in PARTS:
        (ROOT / file).write_text(rendered(file), "utf-8")
        print(f"wrote {file}")
