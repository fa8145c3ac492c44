"""Projects as people publish them: what an import carried over gives the answer that their own server gives."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from lukewarm.adapters.imports import import_project, write
from lukewarm.cli.main import run
from lukewarm.predictors import foreign
from lukewarm.predictors.errors import RequestError, SourceError
from support.imports import lay, losses

ASK = """\
import json, pathlib, sys
from lukewarm.cli.main import run
from lukewarm.predictors.errors import LukewarmError
from lukewarm.serving.engine import Engine

assert run(["convert", "-f", ".", "--json"]) == 0
engine = Engine.open(next(path.parent for path in pathlib.Path(".").rglob("bundle.json")))
engine.start()
for request in json.loads(sys.argv[1]):
    try:
        streamed = [event["delta"] for event in engine.stream({"inputs": request}) if "delta" in event]
        answer = {"output": engine.predict({"inputs": request})["output"], "streamed": streamed}
    except LukewarmError as error:
        answer = {"refused": str(error), "code": getattr(error, "code", "")}
    print("ANSWER " + json.dumps(answer))
"""


def ask(root: Path, *requests: dict[str, Any]) -> list[Any]:
    """Import, convert and ask in one fresh process; each request streamed first, then whole."""
    write(import_project(root), root)
    argv = [sys.executable, "-c", ASK, json.dumps(requests)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, cwd=root)
    found = [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert len(found) == len(requests), (done.stdout + done.stderr)[-3000:]
    return found


COG_OUTPUT = """\
from typing import List, Optional
from cog import BaseModel, BasePredictor, Input, Path as CogPath, Secret


class Output(BaseModel):
    mask: Optional[CogPath] = None
    image: CogPath
    seeds: List[int]


class Predictor(BasePredictor):
    def predict(
        self, image: CogPath = Input(), seed: int = Input(default=None), key: Secret = Input(default=None)
    ) -> Output:
        turned = image.parent / "turned.bin"
        turned.write_bytes(image.read_bytes()[::-1])
        return Output(image=CogPath(turned), seeds=[seed or 7, len(key.get_secret_value())])
"""


@pytest.mark.servers
def test_a_cog_model_of_the_pydantic_days_with_a_file_in_its_output(tmp_path: Path) -> None:
    root = lay(tmp_path, {"cog.yaml": "predict: predict.py:Predictor\n", "predict.py": COG_OUTPUT})
    data = base64.b64encode(b"abc").decode()
    good, path = ask(root, {"image": data, "key": "word"}, {"image": "/etc/passwd", "key": "word"})
    assert good["output"] == {"mask": None, "image": base64.b64encode(b"cba").decode(), "seeds": [7, 4]}
    assert "base64" in path["refused"], "a path on the server is no file of the caller's"


COG_STREAM = """\
import asyncio
from pathlib import Path


class Predictor:
    async def setup(self):
        self.lock = asyncio.Lock()
        self.loop = asyncio.get_running_loop()

    async def predict(self, prompt: str, n: int = 2) -> "{returns}":
        assert asyncio.get_running_loop() is self.loop
        async with self.lock:
            for number in range(n):
                await asyncio.sleep(0)
                yield {piece}
"""


@pytest.mark.parametrize(
    ("returns", "piece", "output", "streamed"),
    [
        ("AsyncConcatenateIterator[str]", "prompt + str(number)", "a0a1", ["a0", "a1"]),
        ("AsyncIterator[Path]", "prompt.encode()", ["YQ==", "YQ=="], ['"YQ=="\n', '"YQ=="\n']),
    ],
)
def test_pieces_of_a_cog_project_stream_and_are_joined_only_where_it_says_so(
    returns: str, piece: str, output: Any, streamed: list[str], tmp_path: Path
) -> None:
    code = COG_STREAM.replace("{returns}", returns).replace("{piece}", piece)
    root = lay(tmp_path, {"cog.yaml": "predict: predict.py:Predictor\n", "predict.py": code})
    assert ("join = False" in import_project(root).predictor) == ("Concatenate" not in returns)
    (answer,) = ask(root, {"prompt": "a"})
    assert answer == {"output": output, "streamed": streamed}


def test_a_runpod_worker_whose_options_stand_in_a_variable(tmp_path: Path) -> None:
    code = (
        "import runpod\n\n\ndef work(job):\n    runpod.serverless.progress_update(job, 'half')\n"
        "    if job['input'].get('bad'):\n        return {'error': 'the text is missing'}\n"
        "    return {'text': job['input']['text'], 'refresh_worker': True}\n\n\n"
        "config = {'handler': work, 'refresh_worker': True, 'concurrency_modifier': lambda now: 4}\n"
        "runpod.serverless.start(config)\n"
    )
    root = lay(tmp_path, {"src/handler.py": code})
    imported = import_project(root)
    assert imported.spec["targets"] == {"runpod": {"refresh_worker": True}}
    assert "src/handler.py:11: start option concurrency_modifier" in losses(imported)
    good, bad = ask(root, {"input": {"text": "a"}}, {"input": {"bad": 1}})
    assert good["output"] == {"text": "a"}
    assert bad == {"refused": "the text is missing", "code": "refused"}


def test_more_of_potassium_than_its_server_keeps_the_package(tmp_path: Path) -> None:
    code = (
        "from potassium import Potassium, Request, Response, send_webhook\napp = Potassium('x')\n\n\n"
        "@app.init\ndef init():\n    return {}\n\n\n@app.background('/later')\ndef later(context, request):\n"
        "    send_webhook('http://x', {})\n\n\n@app.handler('/now')\ndef now(context, request):\n"
        "    return Response(json={}, status=200)\n"
    )
    root = lay(tmp_path, {"app.py": code, "requirements.txt": "potassium\n"})
    imported = import_project(root)
    assert "foreign.potassium_sdk()" in imported.predictor
    assert imported.spec["requirements"] == ["potassium>=0.5,<0.6"]
    assert "app.py:11: background /later: its caller waits" in losses(imported)
    assert "'/now'" in import_project(root, entry="now").predictor
    with pytest.raises(SourceError, match=r"unknown route '/nwo' \(did you mean '/now'\?\)"):
        import_project(root, entry="nwo")


BENTO = """\
import bentoml
from PIL.Image import Image as Picture


@bentoml.service
class Upper:
    @bentoml.api
    def up(self, text: str) -> str:
        return text.upper()


@bentoml.service(resources={"cpu": "1500m"})
class Main:
    upper = bentoml.depends(Upper)
    model = bentoml.models.BentoModel("iris:latest")

    @bentoml.api
    def shout(self, text: str) -> str:
        return self.upper.up(text)

    @bentoml.api
    def look(self, picture: Picture, context: bentoml.Context, n: int = 1) -> int:
        return n
"""


def test_of_several_bento_apis_one_is_chosen_by_its_name(tmp_path: Path) -> None:
    root = lay(tmp_path, {"service.py": BENTO})
    imported = import_project(root)
    lost = losses(imported)
    assert imported.spec["resources"] == {"cpu": 1.5}
    assert ".shout(" in imported.predictor, "the service that takes in the others is the one that is served"
    assert "service Upper" not in lost, "it runs within"
    assert "service.py:15: bentoml.models.BentoModel('iris:latest')" in lost
    assert "API look: one prediction method is carried over: shout; another by --entry NAME" in lost
    assert run(["import", str(root), "--entry", "look"]) == 0
    written = (root / "lukewarm_predictor.py").read_text()
    assert "def predict(self, *, picture: bytes, n: int = 1)" in written, "a type's other name is understood"
    assert "self.arguments(picture=picture, n=n), context=foreign.bento_context())" in written
    assert Path(foreign.bento_context().temp_dir).is_dir()
    with pytest.raises(SourceError, match="unknown API 'lok'"):
        import_project(root, entry="lok")


def test_steps_of_a_cog_build_are_listed_one_by_one(tmp_path: Path) -> None:
    config = "build:\n  run:\n    - pip install a\n    - command: make\n      mounts: []\npredict: p.py:run\n"
    imported = import_project(lay(tmp_path, {"cog.yaml": config, "p.py": "def run(a: int) -> int:\n    return a\n"}))
    assert "cog.yaml:3: build.run: pip install a" in losses(imported)
    assert "cog.yaml:4: build.run: make" in losses(imported)
    with pytest.raises(SourceError, match="a cog project, which has one entry"):
        import_project(tmp_path, entry="run")


def test_text_is_never_a_path_of_the_callers_choice() -> None:
    assert foreign.fit(Path, base64.b64encode(b"x").decode()).read_bytes() == b"x"
    with pytest.raises(ValueError, match="not base64"):
        foreign.fit(Path, "/etc/passwd")


def test_files_of_a_request_go_when_the_next_one_comes() -> None:
    def function(file: Any) -> None:
        """Only its signature counts."""

    function.__annotations__["file"] = Path
    arguments = foreign.Arguments(function)
    first, folder = arguments(file=b"a")["file"], Path(foreign.bento_context().temp_dir)
    (folder / "out").write_text("b")
    assert first.read_bytes() == b"a"
    second = arguments(file=b"c")["file"]
    assert (first.exists(), folder.exists(), second.exists()) == (False, False, True)


def test_the_field_that_a_pydantic_model_refuses_is_named() -> None:
    pydantic = pytest.importorskip("pydantic")

    def function(spot: Any) -> None:
        """Only its signature counts."""

    function.__annotations__["spot"] = pydantic.create_model("Spot", x=(int, ...))
    with pytest.raises(RequestError, match=r"spot\.x: Input should be") as caught:
        foreign.Arguments(function)(spot={"x": "a"})
    assert caught.value.path == "$.inputs.spot.x"


def test_the_specs_environment_holds_for_a_local_run_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("LUKEWARM_TEST_ONE", "LUKEWARM_TEST_TWO"):
        monkeypatch.setenv(name, "shell")  # so that it is removed again
    monkeypatch.delenv("LUKEWARM_TEST_ONE")
    lay(tmp_path, {
        "lukewarm.yaml": "name: e\npredictor: seen_env:P\nenv: {LUKEWARM_TEST_ONE: a, LUKEWARM_TEST_TWO: b}\n",
        "seen_env.py": "import os\n\n\nclass P:\n    def predict(self) -> list:\n"
        "        return [os.environ['LUKEWARM_TEST_' + name] for name in ('ONE', 'TWO')]\n",
    })  # fmt: skip
    assert run(["convert", "-f", str(tmp_path)]) == 0
    capsys.readouterr()
    assert run(["predict", "-f", str(tmp_path), "--request", '{"inputs": {}}']) == 0
    assert json.loads(capsys.readouterr().out)["output"] == ["a", "shell"]


def test_an_artifact_for_the_same_platform_gets_its_sdk_back(monkeypatch: pytest.MonkeyPatch) -> None:
    real, serverless, potassium = (types.ModuleType(name) for name in ("runpod", "runpod.serverless", "potassium"))
    serverless.start = potassium.Potassium = potassium.Request = potassium.Response = object()  # type: ignore[attr-defined]
    for name, module in (("runpod", real), ("runpod.serverless", serverless), ("potassium", potassium)):
        monkeypatch.setitem(sys.modules, name, module)
    start = serverless.start  # type: ignore[attr-defined]
    for install in (foreign.runpod_stub, foreign.runpod_start):
        captured: dict[str, Any] = {}
        with install(captured):
            sys.modules["runpod.serverless"].start({"handler": 1})
        assert captured == {"handler": 1}
        assert sys.modules["runpod.serverless"] is serverless
        assert serverless.start is start  # type: ignore[attr-defined]
    for stand_in in (foreign.potassium_stub, foreign.potassium_sdk):
        with stand_in():
            assert sys.modules["potassium"].Potassium("x").handlers == {}
        assert sys.modules["potassium"] is potassium
        assert potassium.Potassium is start  # type: ignore[attr-defined]
