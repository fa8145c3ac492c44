"""No value can leave its place: arbitrary text in every string of a spec, through every generated file."""

from __future__ import annotations

import ast
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lukewarm.adapters.render import docker_apt, docker_env, docker_exec, image_reference, literal, python_source
from lukewarm.adapters.targets import TARGETS
from lukewarm.predictors.errors import SpecError
from lukewarm.predictors.spec import ModelSpec
from support.artifacts import SPEC, instructions, plan

NASTY = st.sampled_from(
    [
        '"', "'", "\\", "\n", "\r", "\u2028", "\x85", "$(id)", "`id`", "${X}", "; rm -rf /", "\nRUN id\n", '"""', "'''",
        '"\n\nimport os\nos.system("id")\n', "' + __import__('os').system('id') + '", "#{}", "\\\n", "\x00", "\ud800",
        "- !!python/object/apply:os.system [id]", "*alias", "&anchor", "yes", "null", "1e3", "{{x}}", "NAME_", "🙂",
    ]
)  # fmt: skip
TEXT = st.lists(NASTY | st.text(max_size=8), max_size=6).map("".join)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
TARGET = st.sampled_from(TARGETS.names())


def mostly(benign: str) -> st.SearchStrategy[str]:
    """Where a grammar refuses nearly all text, a good value most of the time: refused specs show nothing."""
    return st.integers(0, 9).flatmap(lambda number: TEXT if number == 9 else st.just(benign))


@st.composite
def specs(draw: Any) -> ModelSpec:
    """Specs that no reader would let pass: built without the grammar, so the writer is alone responsible."""
    return msgspec.structs.replace(
        SPEC,
        name=draw(TEXT) or "x",
        python=draw(mostly("3.11")),
        env=draw(st.dictionaries(mostly("A"), TEXT, max_size=3)),
        secrets=draw(st.lists(TEXT, max_size=2)),
        requirements=draw(st.lists(TEXT, max_size=2)),
        system_packages=draw(st.lists(mostly("libgomp1"), max_size=2)),
        resources=msgspec.structs.replace(SPEC.resources, gpu=draw(st.none() | TEXT)),
        targets={
            name: {"overrides": draw(st.dictionaries(TEXT, PLAIN, max_size=3))}
            | ({"base_image": draw(mostly("python:3.11-slim"))} if "base_image" in TARGETS.load(name).options else {})
            for name in TARGETS.names()
        },
    )


class _Literals(ast.NodeTransformer):
    """Every expression of constants alone becomes one mark."""

    def visit(self, node: ast.AST) -> ast.AST:
        node = super().visit(node)
        parts = [
            *getattr(node, "elts", []),
            *[key for key in getattr(node, "keys", []) if key],
            *getattr(node, "values", []),
        ]
        whole = isinstance(node, ast.Constant) or (
            isinstance(node, ast.List | ast.Dict) and all(isinstance(part, ast.Constant) for part in parts)
        )
        negative = isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant)
        return ast.copy_location(ast.Constant("literal"), node) if whole or negative else node


def shape(source: bytes) -> str:
    return ast.dump(_Literals().visit(ast.parse(source)))


SHAPES = {
    (target, path): shape(content)
    for target in TARGETS.names()
    for path, content in plan(target).files.items()
    if path.endswith(".py")
}
STEPS = [word for word, _ in instructions(plan("cloudrun").files["Dockerfile"].decode()) if word != "RUN"]


@settings(max_examples=300, deadline=None)
@given(TARGET, specs())
def test_no_value_breaks_out_of_a_generated_file(target: str, spec: ModelSpec) -> None:
    try:
        files = plan(target, spec).files
    except SpecError:  # refused: nothing was generated
        return
    for path, content in files.items():
        if (target, path) in SHAPES:
            assert shape(content) == SHAPES[target, path], path
        elif path.endswith(".yaml"):
            assert isinstance(yaml.safe_load(content), dict)
        elif path == "Dockerfile":
            steps = instructions(content.decode())
            words = [word for word, _ in steps if word not in ("RUN", "ENTRYPOINT", "CMD", "EXPOSE", "COPY")]
            assert words == ["FROM", "WORKDIR", "ENV"]
            assert sum(word == "RUN" for word, _ in steps) == 2 + bool(spec.system_packages)
            shown = dict(step for step in steps if step[0] == "ENV")["ENV"]
            assert {name: shown.get(name) for name in spec.env} == spec.env


@given(TEXT)
def test_a_literal_is_one_constant_with_the_same_value(text: str) -> None:
    try:
        source = literal(text)
    except SpecError:
        assert "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text)
        return
    assert ast.literal_eval(source) == text
    assert source.isascii()


@given(PLAIN)
def test_literals_of_plain_data(value: Any) -> None:
    try:
        source = literal(value)
    except SpecError:
        return
    assert ast.literal_eval(source) == value


def test_placeholders_in_strings_and_comments_stay_text() -> None:
    source = python_source('x = [A_, "A_"]  # A_\n', {"A": "it's"})
    assert source == 'x = ["it\'s", "A_"]  # A_\n'


def test_a_template_and_its_values_must_agree() -> None:
    with pytest.raises(KeyError):
        python_source("x = A_\n", {})
    with pytest.raises(AssertionError, match="B"):
        python_source("x = A_\n", {"A": 1, "B": 2})


@given(st.dictionaries(st.from_regex(r"\A[A-Z_]{1,5}\Z"), TEXT, min_size=1, max_size=3))
def test_variables_come_back_as_they_were(env: dict[str, str]) -> None:
    try:
        line = docker_env(env)
    except SpecError:
        text = "".join(env.values())
        assert any(char < " " or char == "\x7f" or "\ud800" <= char <= "\udfff" for char in text)
        return
    assert line.count("\n") == 1
    assert instructions(line) == [("ENV", env)]


@pytest.mark.parametrize(
    "image",
    [
        "python:3.11-slim",
        "nvidia/cuda:12.4.1-runtime-ubuntu22.04",
        "r8.im/me/x",
        "localhost:5000/a/b:c",
        "a@sha256:" + "0" * 64,
    ],
)
def test_image_references(image: str) -> None:
    assert image_reference(image, "x") == image


@pytest.mark.parametrize("image", ["", "Python", "a b", "a\nRUN id", "$BASE", "a:b:c:d/", "python:3.11 AS x", 3])
def test_what_is_no_image_reference(image: Any) -> None:
    with pytest.raises(SpecError, match="image reference"):
        image_reference(image, "targets.x.base_image")


def test_words_that_a_dockerfile_cannot_hold() -> None:
    with pytest.raises(SpecError, match="Debian"):
        docker_apt(["libgomp1", "x; rm -rf /"])
    with pytest.raises(SpecError, match="copied"):
        docker_exec("COPY", ["$HOME", "./x"])
    with pytest.raises(SpecError, match="variable"):
        docker_env({"A B": "x"})
