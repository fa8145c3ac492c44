"""Chat templates render as in transformers, inside a sandbox, and say whose fault a failure is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lukewarm.predictors.bundle import Bundle, Manifest, list_files
from lukewarm.predictors.chat_template import TEMPLATE_FILE, ChatTemplate, compile_template
from lukewarm.predictors.errors import BundleError, RequestError
from lukewarm.predictors.tasks import Message
from support.tiny_models import CHAT_TEMPLATE

MESSAGES = [
    Message(role="system", content="You <b>answer</b> & stop."),
    Message(role="user", content="Grüße, 東京\n{{ 7 * 7 }}"),
    Message(role="assistant", content="  ok  "),
    Message(role="user", content="more"),
]
# constructions that models on the hub use
TEMPLATES = {
    "turns": CHAT_TEMPLATE,
    "special tokens": "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}{{ eos_token }}"
    "{% endfor %}",
    "white space": "{% for m in messages %}\n    {% if loop.first %}\n  first\n    {% endif %}\n{{ m.content }}\n"
    "{% endfor %}\n",
    "namespace": "{% set ns = namespace(n=0) %}{% for m in messages %}{% if m.role == 'user' %}"
    "{% set ns.n = ns.n + 1 %}{% endif %}{% endfor %}{{ ns.n }}",
    "tojson": "{{ messages | tojson }} {{ messages[0] | tojson(indent=2) }}",
    "loop controls": "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ m.content }}"
    "{% if loop.index > 2 %}{% break %}{% endif %}{% endfor %}",
    "generation block": "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
    "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}",
    "date": "{{ strftime_now('%Y-%m') }}",
    "tools": "{% if tools %}tools{% endif %}{% if documents is defined and documents %}documents{% endif %}none",
    "macro": "{% macro turn(m) %}<{{ m['role'] }}>{{ m['content'] }}{% endmacro %}"
    "{% for m in messages %}{{ turn(m) }}{% endfor %}",
    "prompt": "{{ messages[-1].content }}{{ 'A:' if add_generation_prompt }}",
    "dict": "{% set d = dict(a=1) %}{{ d.a }}{{ messages[0].get('name', 'none') }}",
}


def chat(tmp_path: Path, template: str | None, **options: Any) -> ChatTemplate:
    if template is not None:
        (tmp_path / TEMPLATE_FILE).write_text(template, "utf-8")
    manifest = Manifest(
        format=1,
        name="m",
        task="text-generation",
        backend="echo",
        precision="none",
        files=list_files(tmp_path),
        options={"special_tokens": {"bos_token": "<s>", "eos_token": "</s>"}, **options},
    )
    return ChatTemplate(Bundle(tmp_path, manifest))


@pytest.mark.models
@pytest.mark.parametrize("name", TEMPLATES)
def test_renders_as_transformers(tmp_path: Path, name: str) -> None:
    import transformers

    from support.tiny_models import byte_level_tokenizer

    theirs = transformers.PreTrainedTokenizerFast(
        tokenizer_object=byte_level_tokenizer(), bos_token="<s>", eos_token="</s>", chat_template=TEMPLATES[name]
    )
    plain = [{"role": message.role, "content": message.content} for message in MESSAGES]
    expected = theirs.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
    assert chat(tmp_path, TEMPLATES[name]).render(MESSAGES) == expected


def test_a_template_in_the_manifest(tmp_path: Path) -> None:
    assert chat(tmp_path, None, chat_template="{{ bos_token }}{{ messages | length }}").render(MESSAGES) == "<s>4"


def test_the_file_goes_before_the_manifest(tmp_path: Path) -> None:
    assert chat(tmp_path, "file", chat_template="manifest").render(MESSAGES) == "file"


def test_a_refusal_is_the_callers_fault(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="unknown role wizard") as caught:
        chat(tmp_path, CHAT_TEMPLATE).render([Message(role="wizard", content="x")])
    assert (caught.value.code, caught.value.path) == ("chat_template", "$.messages")


def test_no_template(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="send 'prompt'") as caught:
        chat(tmp_path, None).render(MESSAGES)
    assert caught.value.code == "no_chat_template"


def test_a_broken_template_is_the_bundles_fault() -> None:
    with pytest.raises(BundleError, match=r"chat_template\.jinja, line 1 is not a template"):
        compile_template("{% for m in messages %}")


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{% for i in range(999999999) %}x{% endfor %}",
    ],
)
def test_the_sandbox_holds(tmp_path: Path, template: str) -> None:
    with pytest.raises(RequestError, match="chat template"):
        chat(tmp_path, template).render(MESSAGES)
