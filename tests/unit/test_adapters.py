"""Plans: pure, deterministic, golden; the table of targets without gaps; the root example; the capability page."""

from __future__ import annotations

import ast
import builtins
import importlib.metadata
import io
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from lukewarm.adapters.base import Adapter, Copy, PlanOptions
from lukewarm.adapters.build import plan_options
from lukewarm.adapters.capabilities import POINTS, checked, markdown
from lukewarm.adapters.closure import canonical, closed_list
from lukewarm.adapters.examples import example_request
from lukewarm.adapters.inputs import task_inputs
from lukewarm.adapters.requirements import expand, runtime_requirements
from lukewarm.adapters.root import root_files
from lukewarm.adapters.targets import TARGETS
from lukewarm.adapters.vendor import shipped_sources
from lukewarm.predictors import specfile
from lukewarm.predictors.errors import SpecError
from lukewarm.predictors.spec import ModelSpec, Resources, Task
from lukewarm.predictors.tasks import TASKS
from support.artifacts import BUNDLE, GOLDEN, OPTIONS, SPEC, instructions, plan

ROOT = Path(__file__).parents[2]
NAMES = TARGETS.names()
MAX_ENTRY_STATEMENTS = 30


@pytest.mark.parametrize("target", NAMES)
def test_golden(target: str) -> None:
    files = plan(target).files
    folder = GOLDEN / target
    golden = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert files == golden, "run: python tests/support/artifacts.py, and look at the difference"


@pytest.mark.parametrize("target", NAMES)
def test_a_plan_is_a_pure_function(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planned twice with disk, clock and network taken away in between: the same plan, inputs unchanged."""
    before = msgspec.json.encode(SPEC)
    first = plan(target)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a plan touched the world")

    for module, name in (
        (builtins, "open"),
        (io, "open"),
        (os, "open"),
        (os, "mkdir"),
        (time, "time"),
        (socket, "socket"),
    ):
        monkeypatch.setattr(module, name, refuse)
    second = plan(target)
    monkeypatch.undo()
    assert first == second
    assert msgspec.json.encode(SPEC) == before


@pytest.mark.parametrize("target", NAMES)
def test_an_artifact_has_what_it_needs(target: str) -> None:
    made = plan(target)
    adapter: Adapter = TARGETS.load(target)
    at = f"{adapter.data_dir}/" if adapter.data_dir else ""
    assert made.target == target == adapter.name
    assert made.entry in made.files
    assert {f"{at}bundle/model.bin", f"{at}bundle/tokenizer.json", f"{at}bundle/bundle.json"} <= set(made.copies)
    assert made.weights_bytes == BUNDLE.total_bytes
    assert b"regex==2026.1.1" in made.files["requirements.txt"]
    shipped = json.loads(made.files[f"{at}lukewarm.json"])
    assert specfile.decode(shipped).limits == SPEC.limits
    assert "models/parrot" not in json.dumps(shipped), "the developer's paths stay at home"
    assert all(SPEC.env["GREETING"] not in key for key in made.files)


@pytest.mark.parametrize("target", NAMES)
def test_the_variables_of_the_spec_reach_the_platform(target: str) -> None:
    if target == "hf-endpoints":
        return  # variables are set on the hub, and no file of a repository can
    text = b"\n".join(plan(target).files.values()).decode()
    assert "GREETING" in text


@pytest.mark.parametrize("target", NAMES)
def test_entries_are_short(target: str) -> None:
    made = plan(target)
    if not made.entry.endswith(".py"):
        return
    tree = ast.parse(made.files[made.entry])
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    own = [node for node in statements if not isinstance(node, ast.Import | ast.ImportFrom)]
    assert len(own) <= MAX_ENTRY_STATEMENTS


@pytest.mark.parametrize("row", list(TARGETS), ids=lambda row: row.name)
def test_a_target_is_complete(row: Any) -> None:
    """A row has an extra that exists, a contract test, golden files, a row in the docs, and a table without gaps."""
    adapter: Adapter = TARGETS.load(row.name)
    known = importlib.metadata.metadata("lukewarm").get_all("Provides-Extra") or []
    assert row.extra is None or row.extra in known
    assert adapter.extra is None or adapter.extra in known
    test = ROOT / f"tests/contract/test_{row.name.replace('-', '_')}.py"
    assert f'target = "{row.name}"' in test.read_text()
    assert (GOLDEN / row.name / adapter.entry).is_file()
    assert f"## {row.name}" in (ROOT / "docs/targets.md").read_text()
    assert set(checked(adapter)) == set(POINTS)
    assert adapter.providers


def test_the_page_of_targets_is_made_of_the_adapters() -> None:
    page = (ROOT / "docs/targets.md").read_text()
    assert page == markdown(), "run: python -m lukewarm.adapters.capabilities > docs/targets.md"


def test_the_root_example_is_what_the_adapters_make() -> None:
    for name, content in root_files(specfile.load(ROOT / "lukewarm.yaml")).items():
        if not name.startswith(".cog/"):  # `cog build` writes that one itself
            assert (ROOT / name).read_bytes() == content, "run: python -m lukewarm.adapters.root"


@pytest.mark.parametrize("target", NAMES)
def test_unknown_options_are_refused_by_name(target: str) -> None:
    spec = msgspec.structs.replace(SPEC, targets={target: {"base_imag": "x"}})
    with pytest.raises(SpecError, match=rf"targets\.{target}\.base_imag: unknown option 'base_imag'"):
        plan(target, spec)


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("cog", {"compat": "yes"}, "targets.cog.compat: true or false"),
        ("runpod", {"refresh_worker": 1}, "targets.runpod.refresh_worker: true or false"),
        ("modal", {"volumes": {"cache": "v"}}, "targets.modal.volumes"),
        ("modal", {"secret": ""}, "targets.modal.secret"),
        ("lambda", {"base_image": "python:3.11\nRUN x"}, "targets.lambda.base_image"),
        ("cloudrun", {"overrides": ["x"]}, "targets.cloudrun.overrides"),
        ("cloudrun", {"overrides": {"x": float("nan")}}, "targets.cloudrun.overrides.x"),
    ],
)
def test_wrong_options_name_their_place(target: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        plan(target, msgspec.structs.replace(SPEC, targets={target: options}))
    assert message in str(caught.value)


def test_overrides_reach_the_platforms_own_file() -> None:
    targets = {
        "cog": {"overrides": {"build": {"cuda": "12.4"}, "image": "r8.im/me/parrot"}},
        "modal": {"overrides": {"region": "us-east", "gpu": "H100"}},
        "cloudrun": {"overrides": {"metadata": {"labels": {"team": "x"}}}},
    }
    spec = msgspec.structs.replace(SPEC, targets=targets)
    cog = yaml.safe_load(plan("cog", spec).files["cog.yaml"])
    assert (cog["build"]["cuda"], cog["build"]["gpu"], cog["image"]) == ("12.4", True, "r8.im/me/parrot")
    source = plan("modal", spec).files["modal_app.py"].decode()
    assert '"region": "us-east"' in source
    assert '"gpu": "H100"' in source
    service = yaml.safe_load(plan("cloudrun", spec).files["service.yaml"])
    assert service["metadata"] == {"name": "parrot", "labels": {"team": "x"}}


def test_the_users_own_files_go_along_and_may_not_hide_ours() -> None:
    mine = PlanOptions(include={"my/model.py": Copy(source=Path("my/model.py"), bytes=5)})
    assert "my/model.py" in plan("runpod", options=mine).copies
    text = plan("runpod", options=mine).files["Dockerfile"].decode()
    assert ("COPY", ["my", "./my"]) in instructions(text)
    for name in ("handler.py", "bundle/x", "lukewarm/x.py", "lukewarm.json"):
        with pytest.raises(SpecError, match="include"):
            plan("runpod", options=PlanOptions(include={name: Copy(source=Path(name), bytes=1)}))


def test_weights_have_a_layer_of_their_own_before_the_sources() -> None:
    steps = instructions(plan("cloudrun").files["Dockerfile"].decode())
    copies = [value for word, value in steps if word == "COPY"]
    assert copies.index(["bundle", "./bundle"]) < copies.index(["lukewarm", "./lukewarm"])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("target", NAMES)
def test_every_task_can_be_planned(target: str, task: Any) -> None:
    made = plan(target, msgspec.structs.replace(SPEC, task=task))
    for path, content in made.files.items():
        if path.endswith(".py"):
            ast.parse(content)
    assert example_request(task)
    assert [field.name for field in task_inputs(task)] == list(TASKS[task][0].__struct_fields__)


def test_a_cpu_model_loads_inside_modals_snapshot_and_a_gpu_model_after_it() -> None:
    cpu = msgspec.structs.replace(SPEC, resources=Resources())
    assert 'load_in_snapshot = HERE / ".", True' in plan("modal", cpu).files["modal_app.py"].decode()
    assert 'load_in_snapshot = HERE / ".", False' in plan("modal").files["modal_app.py"].decode()
    alpha = msgspec.structs.replace(SPEC, targets={"modal": {"gpu_snapshot": True}})
    source = plan("modal", alpha).files["modal_app.py"].decode()
    assert 'load_in_snapshot = HERE / ".", True' in source
    assert '"enable_gpu_snapshot": True' in source


def test_cog_for_versions_before_run() -> None:
    spec = msgspec.structs.replace(SPEC, targets={"cog": {"compat": True}})
    files = plan("cog", spec).files
    assert yaml.safe_load(files["cog.yaml"])["predict"] == "run.py:Predictor"
    source = files["run.py"].decode()
    assert "class Predictor(BasePredictor):" in source
    assert "streaming" not in source


@pytest.mark.parametrize("target", NAMES)
def test_an_entry_is_twenty_lines_at_most(target: str) -> None:
    """What every entry would repeat is in `lukewarm.serving.hosts`. Cog reads each input from a line of its own."""
    made = plan(target)
    if made.entry.endswith(".py"):
        lines = [line for line in made.files[made.entry].decode().splitlines() if line.strip()]
        own = [line for line in lines if " = Input(" not in line]
        assert len(own) <= 20, "\n".join(own)


def test_requirements_are_the_backends_and_pinned() -> None:
    lines = runtime_requirements("ct2", None, asgi=True)
    installed = importlib.metadata.version("ctranslate2")
    assert f"ctranslate2=={installed}" in lines
    assert f"msgspec=={importlib.metadata.version('msgspec')}" in lines
    assert not [line for line in lines if line.startswith(("torch", "transformers", "onnx", "click", "pyyaml"))]
    lean = runtime_requirements("ct2", "runpod", asgi=False)
    assert not [line for line in lean if line.startswith(("starlette", "uvicorn"))]
    assert any(line.startswith("runpod==") for line in lean)
    assert not [line for line in runtime_requirements("hf", None, asgi=True) if "+cpu" in line]
    assert list(expand("no-such-extra")) == []


def test_options_have_defaults() -> None:
    adapter: Adapter = TARGETS.load("cloudrun")
    assert adapter.plan(ModelSpec(name="x"), BUNDLE).requirements == ()
    assert OPTIONS.root == "."


CLOSED = PlanOptions(requirements=("msgspec==0.22.0", "tokenizers==0.22.1"), closed=True)


def test_a_closed_list_is_installed_as_it_is_and_slimmed_in_one_layer() -> None:
    spec = msgspec.structs.replace(SPEC, requirements=[])
    for target in ("cloudrun", "sagemaker", "lambda", "runpod", "banana"):
        steps = instructions(plan(target, spec, CLOSED).files["Dockerfile"].decode())
        install = steps.index(
            ("RUN", "python -m pip install --no-deps -r /tmp/requirements.txt && python /tmp/slim.py")
        )  # fmt: skip
        assert steps[install - 1] == ("COPY", ["requirements.txt", "lukewarm/serving/slim.py", "/tmp/"])
    assert "lukewarm/serving/slim.py" in shipped_sources()
    assert 'extra_options="--no-deps"' in plan("modal", spec, CLOSED).files["modal_app.py"].decode()
    assert yaml.safe_load(plan("bento", spec, CLOSED).files["bentofile.yaml"])["python"]["pip_args"] == "--no-deps"


@pytest.mark.parametrize("target", NAMES)
def test_what_the_docs_say_of_a_targets_packages_is_what_its_plan_says(target: str) -> None:
    adapter: Adapter = TARGETS.load(target)
    spec = msgspec.structs.replace(SPEC, requirements=[])
    files = plan(target, spec, CLOSED).files.values()
    assert any(b"--no-deps" in content for content in files) == adapter.closes
    assert ("--no-deps" in adapter.installs) == adapter.closes
    assert ("slimmed in the same layer" in adapter.installs) == any(b"slim.py" in content for content in files)


def test_lists_are_closed_where_the_platform_can_install_them_so() -> None:
    def closed(target: str, spec: ModelSpec) -> bool:
        return plan_options(TARGETS.load(target), spec, Path()).closed

    spec = ModelSpec(name="x", backend="ort")
    assert {name for name in NAMES if not closed(name, spec)} <= {"cog", "truss", "hf-endpoints", "banana"}
    assert not closed("cog", spec)
    assert not closed("cloudrun", msgspec.structs.replace(spec, requirements=["pandas"])), "it may need what we leave"
    assert not closed("cloudrun", ModelSpec(name="x", backend="hf")), "torch's index decides what it needs"


def test_a_closed_list_holds_all_that_is_imported() -> None:
    def names(backend: str, task: Task) -> set[str]:
        pinned = runtime_requirements(backend, None, asgi=True, task=task)
        found = closed_list(pinned, backend, task, "3.11")
        assert found is not None
        assert all("==" in line for line in found)
        return {canonical(line.partition("==")[0]) for line in found}

    served = {"msgspec", "uvicorn", "h11", "click", "tokenizers"}
    assert names("ct2", "text-to-text") == served | {"ctranslate2"}
    assert names("ct2", "text-generation") == served | {"ctranslate2", "numpy", "jinja2", "markupsafe"}
    assert names("ort", "embeddings") == served | {"onnxruntime", "numpy"}
    assert names("ort", "image-to-text") == served | {"onnxruntime", "numpy", "pillow"}
    assert names("echo", "text-generation") == {"msgspec", "uvicorn", "h11", "click"}


def test_a_list_that_is_not_certain_is_left_open() -> None:
    assert closed_list(("torch==2.0",), "hf", "text-generation", "3.11") is None
    assert closed_list(("msgspec==0.0.1",), "echo", "text-generation", "3.11") is None, "another version is here"
    assert closed_list(("no-such-package==1",), "echo", "text-generation", "3.11") is None
    assert closed_list(("not a requirement!",), "echo", "text-generation", "3.11") is None
    uvicorn = closed_list(("uvicorn",), "echo", "text-generation", "3.10")  # asks for more on that Python
    assert uvicorn is not None
    assert any(line.startswith(("typing_extensions==", "typing-extensions==")) for line in uvicorn)
