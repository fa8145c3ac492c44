"""The spec is strict, and every error names file, line and key."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lukewarm.predictors import specfile
from lukewarm.predictors.errors import SpecError
from lukewarm.predictors.spec import ModelSpec, json_schema


def load(tmp_path: Path, text: str, name: str = "lukewarm.yaml") -> ModelSpec:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return specfile.load(path)


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ("name: x\nresources:\n  gpus: L4\n", ":3:resources.gpus", "did you mean 'gpu'?"),
        ("name: x\nbackends: ort\n", ":2:backends", "did you mean 'backend'?"),
        ("name: Bad_Name\n", ":1:name", "lower case letters"),
        ("name: x\npython: 3.11\n", ":2:python", "quote it"),
        ("name: x\nname: y\n", ":2:name", "stands twice"),
        ("name: x\nscaling:\n  min_instances: 0\n  concurrency: 0\n", ":4:scaling.concurrency", ">= 1"),
        ("name: x\ntask: textgen\n", ":2:task", "'textgen'"),
        ("name: x\nenv: {'a b': c}\n", ":2:env", "form"),
        ("name: x\nsecrets:\n  - OK\n  - 'a;b'\n", ":4:secrets[1]", "'a;b'"),
        ("name: x\nresources: 3\n", ":2:resources", "object"),
        ("task: text-generation\n", "lukewarm.yaml", "missing key 'name'"),
        ("- name\n", "lukewarm.yaml", "mapping"),
        ("", "lukewarm.yaml", "empty"),
        ("name: [\n", ":2", "not YAML"),
        ("name: &a x\nsource: *a\n", "lukewarm.yaml", "aliases"),
        ("name: x\nprecision: 8\n", ":2:precision", "expected `str`"),
        ("name: x\nresources: {cpu: .nan}\n", ":2:resources.cpu", ""),
    ],
)
def test_errors_name_the_place(tmp_path: Path, text: str, where: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, text)
    assert where in str(caught.value)
    assert says in str(caught.value)


def test_toml_table_and_its_lines(tmp_path: Path) -> None:
    text = '[project]\nname = "p"\n\n[tool.lukewarm]\nname = "m"\n[tool.lukewarm.resources]\ngpu = "L4"\n'
    assert load(tmp_path, text, "pyproject.toml").resources.gpu == "L4"
    with pytest.raises(SpecError, match=r"pyproject.toml:7:resources.gpuu.*'gpu'"):
        load(tmp_path, text.replace("gpu =", "gpuu ="), "pyproject.toml")


def test_a_directory_is_searched(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="lukewarm init"):
        specfile.load(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[tool.lukewarm]\nname = "from-toml"\n')
    assert specfile.load(tmp_path).name == "from-toml"
    (tmp_path / "lukewarm.yaml").write_text("name: from-yaml\n")
    assert specfile.load(tmp_path).name == "from-yaml"


@pytest.mark.parametrize("content", [b"\xff\xfename: x", b"name: \x00x\n"])
def test_bytes_that_are_no_text(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lukewarm.yaml"
    path.write_bytes(content)
    with pytest.raises(SpecError, match=r"lukewarm\.yaml"):
        specfile.load(path)


@pytest.mark.parametrize(
    "value",
    [
        "requests\nRUN evil",
        "-r other.txt",
        "--index-url=x",
        "pkg @ file:///x",
        "a; rm -rf /",
        "$(x)",
        "a b",
        "a&&b",
        "",
    ],
)
def test_requirements_have_a_grammar(value: str) -> None:
    with pytest.raises(SpecError, match="requirements"):
        specfile.decode({"name": "x", "requirements": [value]})


def test_usual_requirements_pass() -> None:
    usual = ["numpy", "torch==2.13.0", "foo[bar,baz]>=1.0,<2", 'x>1; python_version < "3.12"', "a.b-c_d~=1.4"]
    assert specfile.decode({"name": "x", "requirements": usual}).requirements == usual


@given(st.text())
def test_a_name_never_carries_anything_else(text: str) -> None:
    """What passes as a name is safe in a file name, a shell, a URL and a Python string."""
    try:
        name = specfile.decode({"name": text}).name
    except SpecError:
        return
    assert name.replace("-", "").isascii()
    assert name.replace("-", "a").isalnum()
    assert name == name.lower()


def test_the_schema_accepts_what_the_decoder_accepts(tmp_path: Path) -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    good = {"name": "x", "resources": {"gpu": "L4"}, "env": {"A": "b"}, "targets": {"modal": {"region": "us-east"}}}
    jsonschema.validate(good, schema)
    specfile.decode(good)
    for bad in ({"name": "x", "resorces": {}}, {"name": "x", "scaling": {"concurrency": 0}}, {}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)
        with pytest.raises(SpecError):
            specfile.decode(bad)


def test_the_root_spec_is_valid() -> None:
    assert specfile.load(Path(__file__).parents[2]).name == "smollm2-135m-instruct"


def test_a_class_of_ones_own_says_task_and_backend(tmp_path: Path) -> None:
    spec = specfile.decode({"name": "up", "predictor": "up:Up"})
    assert (spec.task, spec.backend, spec.precision) == ("custom", "custom", "none")
    with pytest.raises(SpecError, match="task: 'embeddings' is not for a class of your own"):
        specfile.decode({"name": "up", "predictor": "up:Up", "task": "embeddings"})
    with pytest.raises(SpecError, match="backend: 'custom' is a class of your own; name it: predictor"):
        specfile.decode({"name": "up", "backend": "custom"})


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.yaml", "name: " + "[" * 100_000, "nested too deeply"),
        ("a.yaml", "name: x\n" + "#" * 1_000_001, "has 1,000,009 characters"),
        ("a.yaml", "name: up\n1: x\n", r"a\.yaml:2:1: a key must be text; quote it"),
        ("a.yaml", "name: up\n<<: {task: custom}\n", "a key must be text"),
        ("a.json", '{"name": ' + "[" * 100_000, "not JSON: maximum recursion"),
        ("a.json", '{"name": "a", "name": "b"}', "a.json:name: the key stands twice"),
        ("a.toml", "tool = 3\n", r"no \[tool.lukewarm\] table"),
    ],
)
def test_files_that_would_go_wrong_quietly(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(SpecError, match=says):
        specfile.load(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.yaml", "name: x"), ("a.json", '{"name": "x"}'), ("a.toml", '[tool.lukewarm]\r\nname = "x"\r\n')],
)
def test_a_byte_order_mark_is_no_content(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text("\ufeff" + text, "utf-8")
    assert specfile.load(tmp_path / name).name == "x"
