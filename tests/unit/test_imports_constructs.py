"""Constructs of real projects that an import met: types, computed defaults, folders, names that clash with ours."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest

from lukewarm.adapters import build
from lukewarm.adapters.imports import import_project, write
from lukewarm.adapters.targets import TARGETS
from lukewarm.cli.main import run
from lukewarm.predictors import foreign, specfile
from lukewarm.predictors.errors import RequestError
from support.imports import lay, losses

PICTURE = base64.b64decode(  # one red pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)


def answers(root: Path, *requests: dict[str, Any]) -> list[Any]:
    """Import and convert the project, then ask it as its users would: through the bundle, in one fresh process."""
    write(import_project(root), root)
    (root / ".requests").write_text(json.dumps(requests))
    script = (
        "import json, sys\nfrom lukewarm.cli.main import run\nassert run(['convert', '-f', '.', '--json']) == 0\n"
        "from lukewarm.predictors.errors import LukewarmError\nfrom lukewarm.serving.engine import Engine\n"
        "import pathlib\nbundle = next(path.parent for path in pathlib.Path('.').rglob('bundle.json'))\n"
        "engine = Engine.open(bundle)\nengine.start()\n"
        "for request in json.load(open('.requests')):\n"
        "    try:\n        answer = engine.predict({'inputs': request})['output']\n"
        "    except LukewarmError as error:\n        answer = {'refused': str(error)}\n"
        "    print('ANSWER ' + json.dumps(answer))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, cwd=root)
    found = [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert len(found) == len(requests), (done.stdout + done.stderr)[-3000:]
    return found


COG_TYPES = """\
import typing as t
from enum import Enum
from pathlib import Path
from typing import List, Optional

SIZES = {"small": 1, "large": 2}
WORD = "hi"


def Input(default=None, **_kwargs):
    class Given:
        pass
    Given.default = default
    return Given


class Colour(Enum):
    RED = "red"


class Runner:
    def run(
        self,
        count: Optional[int] = Input(default=None, ge=1, le=20),
        words: t.List[str] = Input(default=["a"]),
        size: str = Input(default="small", choices=list(SIZES.keys())),
        word: str = Input(default=WORD),
        computed: str = Input(default=WORD.upper()),
        file: "Optional[Path]" = Input(default=None),
        files: List[Path] = Input(default=[]),
        numbers: t.Union[t.List[int], t.List[float]] = Input(default=[]),
        colour: Colour = Input(default=Colour.RED),
        context: t.Dict[str, int] = {},
    ) -> list:
        read = [file.read_text() if file else None, *[item.read_text() for item in files]]
        return [count, words, size, word, computed, read, numbers, colour.name, context]
"""


def test_types_limits_choices_and_defaults_of_a_cog_project(tmp_path: Path) -> None:
    root = lay(tmp_path, {"cog.yaml": "run: code/my-runner.py:Runner\n", "code/my-runner.py": COG_TYPES})
    imported = import_project(root)
    declared = imported.predictor
    for text in (
        "count: Annotated[int, Meta(ge=1, le=20)] | None = None",
        "words: list[str] = ['a']",
        "size: Literal['small', 'large'] = 'small'",
        "word: str = 'hi'",
        "computed: str | UnsetType = UNSET",
        "file: bytes | None = None",
        "files: list[bytes] = []",
        "context: dict[str, int] = {}",
    ):
        assert text in declared, declared
    assert "my-runner.py:31: type t.Union[t.List[int], t.List[float]] of input 'numbers'" in losses(imported)
    data = base64.b64encode(b"text").decode()
    plain, filled, wrong, large = answers(
        root,
        {},
        {"count": 3, "file": data, "files": [data, data], "numbers": [1, 2.5], "colour": "red", "computed": "x"},
        {"colour": "blue"},
        {"count": 21},
    )
    assert plain == [None, ["a"], "small", "hi", "HI", [None], [], "RED", {}]
    assert filled == [3, ["a"], "small", "hi", "x", ["text", "text", "text"], [1, 2.5], "RED", {}]
    assert "colour" in wrong["refused"]
    assert "refused" in large


def test_a_cog_function_and_limits_that_cannot_be_checked(tmp_path: Path) -> None:
    code = (
        "def Input(default=None, **_): return default\n\n"
        "def run(text: str = Input(description='x', regex='('), flag: bool = Input(default=True, ge=0)) -> str:\n"
        "    return text + str(flag)\n"
    )
    root = lay(tmp_path, {"cog.yaml": "build: {sdk_version: 0.16.2}\nrun: run.py:run\n", "run.py": code})
    imported = import_project(root)
    lost = losses(imported)
    assert "run.py:3: pattern='(' of input 'text'" in lost
    assert "run.py:3: ge=0 of input 'flag'" in lost
    assert "cog.yaml:1: sdk_version 0.16.2" in lost
    assert answers(root, {"text": "a"}) == ["aTrue"]


def test_a_runpod_script_finds_its_neighbours_and_runs_its_main_block(tmp_path: Path) -> None:
    files = {
        "src/handler.py": "import runpod\nimport helper\n\nSTATE = {}\n\n\nasync def work(job):\n"
        "    yield helper.shout(job['input']['text']) + STATE['ready']\n\n\n"
        "if __name__ == '__main__':\n    STATE['ready'] = '!'\n    runpod.serverless.start({'handler': work})\n",
        "src/helper.py": "def shout(text):\n    return text.upper()\n",
    }
    assert answers(lay(tmp_path, files), {"input": {"text": "a"}}) == [["A!"]]


def test_a_truss_with_bundled_packages_relative_imports_and_a_generator(tmp_path: Path) -> None:
    files = {
        "config.yaml": "resources: {accelerator: 'H100:4', memory: 512Mi, cpu: '2'}\nsecrets: {'my-token': null}\n"
        "requirements_file: none.txt\nruntime: {transport: {kind: grpc}}\nmodel_metadata: {end: '!'}\n",
        "model/model.py": "from shared_words import WORD\nfrom model.part import MARK\n"
        "from .part import MARK as SAME\n\n\nclass Model:\n    def __init__(self, **kwargs):\n"
        "        self.end = kwargs['config']['model_metadata']['end']\n\n"
        "    async def predict(self, request):\n        for item in request:\n"
        "            yield item + WORD + MARK + SAME\n        yield self.end\n",
        "model/__init__.py": "",
        "model/part.py": "MARK = '.'\n",
        "packages/shared_words.py": "WORD = 'w'\n",
    }
    root = lay(tmp_path, files)
    imported = import_project(root)
    assert imported.spec["resources"] == {"cpu": 2.0, "gpu": "H100", "memory_gb": 0.5}
    lost = losses(imported)
    for text in (
        "config.yaml:1: accelerator H100:4",
        "config.yaml:2: my-token",
        "config.yaml:3: none.txt",
        "config.yaml:4: runtime.transport",
    ):
        assert text in lost, lost
    assert answers(root, {"inputs": ["a", "b"]}) == ["aw..bw..!"]


def test_a_handler_gets_the_further_keys_that_its_code_reads(tmp_path: Path) -> None:
    code = (
        "class EndpointHandler:\n    def __init__(self, path=''):\n        pass\n\n"
        "    def __call__(self, data):\n        inputs = data.pop('inputs', data)\n"
        "        return [inputs, data.get('direction', 'to'), sorted(data)]\n"
    )
    root = lay(tmp_path, {"handler.py": code})
    first, second, third = answers(
        root, {"inputs": "x"}, {"inputs": "x", "direction": "from"}, {"inputs": 1, "parameters": {}}
    )
    assert first == ["x", "to", []]
    assert second == ["x", "from", ["direction"]]
    assert third == [1, "to", ["parameters"]]


BENTO = """\
import typing as t
import bentoml
from annotated_types import Ge, Le
from PIL.Image import Image
from pydantic import BaseModel

SAMPLE = "a sample"
image = bentoml.images.Image(python_version="3.11").python_packages("six==1.16.0").run("echo hi")


class Options(BaseModel):
    times: int = 1


@bentoml.service
class Helper:
    @bentoml.api
    def echo(self, text: str) -> str:
        return text


@bentoml.service(
    image=image,
    resources={"gpu": 1, "gpu_type": "nvidia-l4", "memory": "8Gi"},
    envs=[{"name": "HF_TOKEN"}, {"name": "MODE", "value": "fast"}],
    workers=2,
)
class Main:
    @bentoml.api
    def predict(
        self, ctx: bentoml.Context = None, text: str = SAMPLE, n: t.Annotated[int, Ge(1), Le(4)] = 1,
        picture: t.Optional[Image] = None, options: Options = Options(),
    ) -> t.Any:
        if picture is not None:
            return picture.rotate(90)
        return text * n * options.times
"""


@pytest.mark.servers
def test_a_bentoml_service_with_image_resources_and_types_of_its_own(tmp_path: Path) -> None:
    root = lay(tmp_path, {"service.py": BENTO, "bentofile.yaml": "service: 'service:Main'\n"})
    imported = import_project(root)
    spec = imported.spec
    assert spec["requirements"][1:] == ["six==1.16.0"]
    assert spec["requirements"][0].startswith("bentoml")
    assert (spec["python"], spec["env"], spec["secrets"]) == ("3.11", {"MODE": "fast"}, ["HF_TOKEN"])
    assert spec["resources"] == {"memory_gb": 8.0, "gpu": "L4"}
    lost = losses(imported)
    for text in (
        "image.run('echo hi')",
        "workers=2",
        "service Helper",
        "Context parameter 'ctx'",
        "type Options of input",
    ):
        assert text in lost, lost
    assert "n: Annotated[int, Meta(ge=1, le=4)] = 1" in imported.predictor
    plain, picture, wrong = answers(
        root,
        {"n": 2, "options": {"times": 2}},
        {"picture": base64.b64encode(PICTURE).decode()},
        {"options": {"times": "many"}},
    )
    assert plain == "a sample" * 4
    assert base64.b64decode(picture).startswith(b"\x89PNG")
    assert "options" in wrong["refused"]


@pytest.mark.parametrize("target", ["cog", "runpod", "truss"])
def test_an_imported_project_is_built_for_every_target_though_names_clash(target: str, tmp_path: Path) -> None:
    """`run.py`, `handler.py`, `app.py`, `model/model.py`, `service.py`: the user's and the artifact's own."""
    names = ("run.py", "handler.py", "app.py", "service.py", "model/model.py", "requirements.txt", "cog.yaml")
    files = dict.fromkeys(names, "# the user's\n") | {
        "handler.py": "class EndpointHandler:\n    def __init__(self, path):\n        pass\n\n"
        "    def __call__(self, data):\n        return data['inputs']\n",
        "cog.yaml": "run: handler.py:EndpointHandler\n",
        "requirements.txt": "",
    }
    root = lay(tmp_path, files)
    write(import_project(root, "huggingface"), root)
    assert run(["convert", "-f", str(root)]) == 0
    bundle = next(path.parent for path in root.rglob("bundle.json"))
    artifact = build.build(target, specfile.load(root), root, bundle, tmp_path.parent / f"{tmp_path.name}-out").root
    entry = TARGETS.load(target).entry
    assert "# the user's" not in (artifact / entry).read_text()
    assert list(artifact.rglob(f"{foreign.INCLUDED}/{entry}")), "the user's file is there too"
    script = (
        f"import sys; sys.path[:0] = [{str(artifact)!r}, {str(artifact / 'packages')!r}]\n"
        "import lukewarm_predictor\np = lukewarm_predictor.Imported()\np.setup()\n"
        "print('ANSWER', p.predict(inputs='x'))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert "ANSWER x" in done.stdout, done.stderr[-2000:]


class Row(typing.TypedDict):
    a: int


def test_arguments_of_the_users_types() -> None:
    numpy = pytest.importorskip("numpy")

    def function(array: "numpy.ndarray", pair: tuple[int, int], either: int | list[str], row: "Row") -> None:  # noqa: UP037
        """Only its signature counts."""

    function.__annotations__["array"] = numpy.ndarray
    made = foreign.Arguments(function)(array=[[1, 2]], pair=[1, 2], either=["a"], row={"a": 1})
    assert made["array"].shape == (1, 2)
    assert (made["pair"], made["either"]) == ((1, 2), ["a"])
    assert made["row"] == {"a": 1}
    with pytest.raises(RequestError, match="array") as caught:
        foreign.Arguments(function)(array=[[1], [2, 3]])
    assert caught.value.path == "$.inputs.array"
