"""Other platforms' projects become a spec and a Predictor that runs their code unchanged; reading them runs nothing."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lukewarm.adapters.imports import import_project, write
from lukewarm.cli.main import run
from lukewarm.predictors import specfile
from lukewarm.predictors.errors import SourceError, SpecError
from support.imports import lay, losses

BOMB = "import pathlib\npathlib.Path(__file__).with_name('executed').touch()\n"
COG = {
    "cog.yaml": """\
build:
  gpu: true
  python_version: "3.11"
  python_packages:
    - "six==1.16.0"
    - "git+https://example.com/x.git"
  system_packages: [ffmpeg]
  run:
    - curl example.com | sh
predict: "predict.py:Predictor"
train: "train.py:train"
""",
    "predict.py": BOMB
    + """\
from cog import BasePredictor, Input, Path


class Predictor(BasePredictor):
    def setup(self):
        self.prefix = ">"

    def predict(
        self,
        text: str = Input(description="words", min_length=1),
        n: int = Input(default=2, ge=1, le=5),
        mode: str = Input(default="loud", choices=["loud", "soft"]),
        file: Path = Input(default=None),
    ) -> str:
        extra = file.read_text() if file else ""
        return self.prefix + " ".join([text] * n) + mode + extra
""",
}
TRUSS = {
    "config.yaml": """\
model_name: My Truss
python_version: py311
requirements: [six==1.16.0]
resources: {accelerator: "A10G:2", memory: 8Gi, use_gpu: true}
secrets: {hf_token: null}
runtime: {predict_concurrency: 4}
build_commands: [echo hi]
""",
    "model/model.py": BOMB
    + """\
class Model:
    def __init__(self, **kwargs):
        self.secrets = kwargs["secrets"]

    def load(self):
        self.suffix = "!"

    def preprocess(self, inputs):
        return inputs["text"]

    def predict(self, text):
        return {"text": text + self.suffix}
""",
}
RUNPOD = {
    "src/handler.py": BOMB
    + """\
import runpod


def handler(job):
    if "text" not in job["input"]:
        return {"error": "text is required"}
    return job["input"]["text"].upper()


runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda n: 3})
""",
    "requirements.txt": "runpod==1.7.0\nsix==1.16.0  # comment\n-r other.txt\n",
    "Dockerfile": "FROM runpod/base:0.4\nRUN pip install -r requirements.txt\nRUN apt-get install -y git\n",
}
POTASSIUM = {
    "app.py": BOMB
    + """\
from potassium import Potassium, Request, Response

app = Potassium("my_app")


@app.init
def init():
    return {"prefix": "p:"}


@app.handler("/")
def handler(context: dict, request: Request) -> Response:
    if "text" not in request.json:
        return Response(json={"error": "text"}, status=422)
    return Response(json={"text": context.get("prefix") + request.json["text"]}, status=200)


@app.background("/later")
def later(context, request):
    pass


if __name__ == "__main__":
    app.serve()
""",
}
HUGGINGFACE = {
    "handler.py": BOMB
    + """\
class EndpointHandler:
    def __init__(self, path=""):
        self.path = path

    def __call__(self, data):
        return [{"label": data["inputs"], "n": data.get("parameters", {}).get("n", 1)}]
""",
    "requirements.txt": "six==1.16.0\n",
}
BENTO = {
    "service.py": "from __future__ import annotations\n"
    + BOMB
    + """\
import bentoml


@bentoml.service(traffic={"timeout": 30})
class Summary:
    def __init__(self) -> None:
        self.prefix = "b:"

    @bentoml.api
    def predict(self, text: str, n: int = 1) -> str:
        return self.prefix + text * n

    @bentoml.api
    def other(self, text: str) -> str:
        return text
""",
    "bentofile.yaml": "service: service:Summary\npython:\n  packages: [six]\n  trusted_host: [a]\n",
}
PROJECTS = {
    "cog": COG, "truss": TRUSS, "runpod": RUNPOD, "potassium": POTASSIUM, "huggingface": HUGGINGFACE, "bentoml": BENTO,
}  # fmt: skip


CALLER = """
import inspect, json, sys
from lukewarm.predictors.errors import RequestError
sys.path.insert(0, ".")
from lukewarm_predictor import Imported
predictor = Imported()
predictor.setup()
for line in sys.stdin:
    given = json.loads(line)
    for name, value in given.items():
        if isinstance(value, dict) and "bytes" in value:
            given[name] = value["bytes"].encode()
    try:
        answer = predictor.predict(**given)
        answer = list(answer) if inspect.isgenerator(answer) else answer
    except (ValueError, RequestError) as error:
        answer = {"raised": str(error)}
    print("ANSWER " + json.dumps(answer))
"""


def call(root: Path, *requests: dict[str, Any]) -> list[Any]:
    """Run the generated Predictor in a fresh process, as a server would."""
    done = subprocess.run(
        [sys.executable, "-c", CALLER],
        input="\n".join(json.dumps(item) for item in requests),
        capture_output=True,
        text=True,
        timeout=120,
        cwd=root,
    )
    answers = [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert len(answers) == len(requests), done.stderr[-2000:]
    return answers


@pytest.mark.parametrize("kind", PROJECTS)
def test_a_project_is_recognised_read_and_not_run(kind: str, tmp_path: Path) -> None:
    root = lay(tmp_path / "project", PROJECTS[kind])
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    imported = import_project(root)
    assert imported.kind == kind
    assert not list(root.rglob("executed"))
    write(imported, root)
    spec = specfile.load(root)
    assert spec.predictor == "lukewarm_predictor:Imported"
    assert "lukewarm.yaml" not in spec.include
    assert {path: path.read_bytes() for path in before} == before
    with pytest.raises(SpecError, match="--force"):
        write(imported, root)


def test_cog(tmp_path: Path) -> None:
    root = lay(tmp_path, COG)
    imported = import_project(root)
    write(imported, root)
    spec = specfile.load(root)
    assert "six==1.16.0" in spec.requirements
    assert spec.system_packages == ["ffmpeg"]
    assert spec.resources.gpu
    lost = losses(imported)
    for line in ("cog.yaml:4: git+https", "cog.yaml:9: build.run: curl", "cog.yaml:11: train", "cog.yaml:2: gpu: true"):
        assert line in lost
    assert call(root, {"text": "a"}, {"text": "b", "n": 1, "mode": "soft", "file": {"bytes": "data"}}) == [
        ">a aloud",
        ">bsoftdata",
    ]
    assert "n: Annotated[int, Meta(ge=1, le=5)] = 2" in imported.predictor
    assert "mode: Literal['loud', 'soft'] = 'loud'" in imported.predictor


def test_truss(tmp_path: Path) -> None:
    root = lay(tmp_path, TRUSS)
    imported = import_project(root)
    write(imported, root)
    spec = specfile.load(root)
    assert (spec.name, spec.resources.gpu, spec.resources.memory_gb) == ("my-truss", "A10G", 8)
    assert (spec.scaling.concurrency, spec.secrets) == (4, ["hf_token"])
    assert "config.yaml:7: build_commands" in losses(imported)
    assert call(root, {"inputs": {"text": "a"}}) == [{"text": "a!"}]


def test_runpod_needs_no_sdk(tmp_path: Path) -> None:
    root = lay(tmp_path, RUNPOD)
    imported = import_project(root)
    write(imported, root)
    assert specfile.load(root).requirements == ["six==1.16.0"]
    lost = losses(imported)
    assert "requirements.txt:3: -r other.txt" in lost
    assert "Dockerfile:3: RUN apt-get" in lost
    assert "concurrency_modifier" in lost
    assert "Dockerfile:2" not in lost
    assert call(root, {"input": {"text": "hi"}}, {"input": {}}) == ["HI", {"raised": "text is required"}]


def test_potassium(tmp_path: Path) -> None:
    root = lay(tmp_path, POTASSIUM)
    imported = import_project(root)
    write(imported, root)
    assert "background /later" in losses(imported)
    good, bad = call(root, {"inputs": {"text": "x"}}, {"inputs": {}})
    assert good == {"text": "p:x"}
    assert "status 422" in bad["raised"]


def test_huggingface_handler(tmp_path: Path) -> None:
    root = lay(tmp_path, HUGGINGFACE)
    write(import_project(root), root)
    assert call(root, {"inputs": "x", "parameters": {"n": 3}}) == [[{"label": "x", "n": 3}]]


@pytest.mark.servers
def test_bentoml(tmp_path: Path) -> None:
    root = lay(tmp_path, BENTO)
    imported = import_project(root)
    write(imported, root)
    assert "API other" in losses(imported)
    assert "python.trusted_host" in losses(imported)
    assert call(root, {"text": "a", "n": 2}) == ["b:aa"]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"x.txt": "hello"}, "none of: cog"),
        ({"cog.yaml": "build: ["}, "cog.yaml"),
        ({"cog.yaml": "build: {}\n"}, "no 'run:"),
        ({"cog.yaml": "predict: ../../etc/passwd:X\n"}, "outside the project"),
        ({"cog.yaml": "predict: predict.py:X\n", "predict.py": "def f(:\n"}, "predict.py:1: not Python"),
        ({"cog.yaml": "predict: predict.py:X\n", "predict.py": "class Y: pass\n"}, "no class or function X"),
        ({"cog.yaml": "predict: p.py:X\n", "p.py": "class X: pass\n"}, "p.py:1: X has neither"),
        ({"service.py": "import bentoml\nsvc = bentoml.Service('x')\n"}, "service.py:2: a service of BentoML before"),
        (
            {"service.py": "import bentoml\n\n@bentoml.asgi_app(app)\n@bentoml.service\nclass S:\n    pass\n"},
            "service.py:5: S has no @bentoml.api method; its routes are those of a mounted ASGI app",
        ),
        ({"handler.py": "class EndpointHandler:\n  pass\n"}, "no __call__"),
        ({"h.py": "import runpod\nrunpod.serverless.start(cfg)\n"}, "h.py:2"),
        ({"h.py": "import runpod\nrunpod.serverless.start({'handler': all_of[1]})\n"}, "not a named function"),
    ],
)
def test_what_cannot_be_read_says_where(files: dict[str, str], says: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        import_project(lay(tmp_path, files))
    assert says in str(caught.value)


def test_planted_text_stays_text(tmp_path: Path) -> None:
    """Defaults and choices reach the generated file as literals, whatever they say."""
    planted = '"); import os; os.system("touch executed'
    source = (
        f"class P:\n    def predict(self, a: str = Input(default={planted!r}),\n"
        f"                b: str = Input(default='x', choices=[{planted!r}, 'x'])) -> str:\n        return a + b\n"
    )
    root = lay(tmp_path, {"cog.yaml": "predict: p.py:P\n", "p.py": "def Input(**k): return None\n" + source})
    write(import_project(root), root)
    assert call(root, {}) == [planted + "x"]
    assert not (root / "executed").exists()


def test_the_command_lists_losses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = lay(tmp_path, COG)
    assert run(["import", str(root), "--dry-run"]) == 0
    assert "not carried over  cog.yaml:9: build.run: curl" in capsys.readouterr().out
    assert not (root / "lukewarm.yaml").exists()
    assert run(["import", str(root), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["kind"] == "cog"
    assert {"file", "line", "what", "why"} <= set(shown["not_carried_over"][0])
    assert run(["import", str(root)]) == 3
    assert run(["import", str(tmp_path / "none")]) == 4


def test_file_results_become_bytes(tmp_path: Path) -> None:
    code = (
        "import pathlib\nclass P:\n    def predict(self) -> object:\n        p = pathlib.Path('out.bin')\n"
        "        p.write_bytes(b'abc')\n        return p\n"
    )
    root = lay(tmp_path, {"cog.yaml": "predict: p.py:P\n", "p.py": code})
    write(import_project(root), root)
    script = (
        "import sys; sys.path.insert(0, '.')\nfrom lukewarm_predictor import Imported\nimport msgspec\n"
        "p = Imported(); p.setup(); print(msgspec.json.encode(p.predict()).decode())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=root)
    assert json.loads(done.stdout) == base64.b64encode(b"abc").decode(), done.stderr
