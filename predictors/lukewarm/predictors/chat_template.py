"""Chat templates: messages to prompt text, as transformers' `apply_chat_template` renders them; jinja2 only when asked.

A bundle holds the template as `chat_template.jinja` at its root (or as the string `options.chat_template`), and the
special tokens that templates name in `options.special_tokens`: `{"bos_token": "<s>", "eos_token": "</s>", ...}`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.errors import BundleError, MissingExtra, RequestError
from lukewarm.predictors.tasks import Message

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATE_FILE = "chat_template.jinja"


class ChatTemplate:
    """A bundle's chat template, compiled at its first use."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._template: Template | None = None
        self._special_tokens: dict[str, str] = dict(bundle.manifest.options.get("special_tokens") or {})

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt's text, ready for the answer. Raises RequestError (no template, or it refuses), BundleError."""
        if self._template is None:
            self._template = compile_template(self._source())
        plain = [msgspec.to_builtins(message) for message in messages]
        try:
            return str(
                self._template.render(
                    messages=plain, tools=None, documents=None, add_generation_prompt=True, **self._special_tokens
                )
            )
        except Exception as error:  # a template is its author's program, run on these messages: any fault is theirs
            raise RequestError(
                "chat_template", f"the model's chat template refuses these messages: {error}", "$.messages"
            ) from error

    def _source(self) -> str:
        text = template_source(self._bundle)
        if not text:
            raise RequestError(
                "no_chat_template", "this model has no chat template; send 'prompt' instead", "$.messages", "prompt"
            )
        return text


def template_source(bundle: Bundle) -> str:
    """The text of a bundle's chat template; empty if it has none."""
    if bundle.has(TEMPLATE_FILE):
        return bundle.path(TEMPLATE_FILE).read_text("utf-8")
    return str(bundle.manifest.options.get("chat_template") or "")


def has_role(bundle: Bundle, role: str) -> bool:
    """Whether the bundle's chat template names a role."""
    return role in template_source(bundle)


def compile_template(source: str) -> Template:
    """Compile in jinja2's immutable sandbox, with what templates for transformers rely on. Raises BundleError."""
    try:
        import jinja2
        import jinja2.ext
        import jinja2.nodes
        import jinja2.parser
        import jinja2.sandbox
    except ImportError as error:
        raise MissingExtra("jinja2", "ct2") from error

    class GenerationBlock(jinja2.ext.Extension):
        """`{% generation %}` marks the assistant's words for training; here it is only its body."""

        tags = {"generation"}  # noqa: RUF012 - jinja2's own declaration

        def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlock, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = _strftime_now
    try:
        return environment.from_string(source)
    except jinja2.TemplateError as error:
        line = f", line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        raise BundleError(
            f"{TEMPLATE_FILE}{line} is not a template: {error}; mend it and run: lukewarm convert"
        ) from error


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """jinja2's own filter would escape HTML characters, which models have never seen."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)
