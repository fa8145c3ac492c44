"""The built wheel in clean environments: what a stranger's `pip install` gives, with no checkout in sight."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.wheel, pytest.mark.timeout(900)]
ENV = {
    key: value
    for key, value in os.environ.items()
    if key not in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")
} | {"ORT_DISABLE_TELEMETRY": "1"}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return next(folder.glob("*.whl"))


def environment(folder: Path, requirement: str) -> Path:
    """A fresh virtual environment with one requirement; returns its bin folder."""
    venv.create(folder, with_pip=True)
    command = [folder / "bin/python", "-m", "pip", "install", "-q", requirement]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=ENV)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "bin"


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=ENV, cwd=cwd)


def test_the_wheel_holds_every_module_and_data_file(wheel: Path) -> None:
    """Two of eleven tried layouts built empty wheels with exit code 0 while editable tests were green."""
    inside = set(zipfile.ZipFile(wheel).namelist())
    files = [path for path in ROOT.glob("*/lukewarm/**/*") if path.is_file() and "__pycache__" not in path.parts]
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, timeout=60).stdout.split(
        "\n"
    )
    wanted = {
        path.relative_to(path.parents[len(path.parts) - len(ROOT.parts) - 2]).as_posix()
        for path in files
        if str(path.relative_to(ROOT)) in tracked
    }
    assert len(wanted) > 50
    assert wanted <= inside, sorted(wanted - inside)
    assert not any(name.startswith(("tests/", "docs/")) for name in inside)
    assert "lukewarm/__init__.py" not in inside


def test_core_alone(wheel: Path, tmp_path: Path) -> None:
    """The bare wheel has the command, the spec and clear words about what is missing."""
    binaries = environment(tmp_path / "env", str(wheel))
    done = run(binaries / "lukewarm", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert run(binaries / "lukewarm", "init", cwd=tmp_path).returncode == 0
    assert json.loads(run(binaries / "lukewarm", "schema", cwd=tmp_path).stdout)["title"] == "lukewarm.yaml"
    for arguments, code in ((["predict", "x"], 6), (["predict", "x", "-f", "none.yaml"], 3), (["init", "--bad"], 2)):
        done = run(binaries / "lukewarm", *arguments, cwd=tmp_path)
        assert done.returncode == code, (arguments, done.stderr)
        assert "Traceback" not in done.stderr
    listed = run(binaries / "python", "-m", "pip", "list", "--format=freeze", cwd=tmp_path).stdout
    names = {line.split("==")[0].lower() for line in listed.splitlines()} - {"pip", "setuptools", "wheel"}
    assert names == {"lukewarm", "msgspec", "pyyaml", "click"}


@pytest.fixture(scope="session")
def ct2_environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("ct2") / "env", f"{wheel}[ct2]")


@pytest.fixture(scope="session")
def ct2_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Converted by the developer's environment, as a user would before building an image."""
    from support.tiny_models import tiny_model

    project = tmp_path_factory.mktemp("project")
    (project / "lukewarm.yaml").write_text(
        f"name: tiny\nsource: {tiny_model('llama')}\nbackend: ct2\nprecision: fp32\n"
    )
    done = run(Path(sys.executable).parent / "lukewarm", "convert", "-f", project, cwd=project)
    assert done.returncode == 0, done.stderr
    return project / ".lukewarm/bundles/tiny-ct2-fp32"


def test_ct2_alone_has_neither_torch_nor_transformers(ct2_environment: Path, tmp_path: Path) -> None:
    code = "import importlib.util as u; print([m for m in ('torch', 'transformers', 'onnxruntime') if u.find_spec(m)])"
    assert run(ct2_environment / "python", "-c", code, cwd=tmp_path).stdout.strip() == "[]"


@pytest.fixture
def ct2_server(ct2_environment: Path, ct2_bundle: Path, tmp_path: Path) -> Iterator[str]:
    """`python -m lukewarm.serving BUNDLE` of the clean environment, on a free port."""
    log = tmp_path / "log"
    with log.open("w") as stream:
        command = [ct2_environment / "python", "-m", "lukewarm.serving", ct2_bundle, "--port", "0"]
        process = subprocess.Popen(command, stderr=stream, stdout=stream, env=ENV, cwd=tmp_path, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r'"url":"(http://[^"]+)"', log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield found.group(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def wait_until_ready(server: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if urllib.request.urlopen(f"{server}/readyz", timeout=5).status == 200:
                return
        except urllib.error.HTTPError:  # 503 while it loads
            time.sleep(0.1)
    raise TimeoutError("not ready within 60 s")


def test_ct2_alone_serves_what_the_developer_predicts(ct2_server: str, ct2_bundle: Path, tmp_path: Path) -> None:
    request = {"prompt": "the model", "max_new_tokens": 12}
    wait_until_ready(ct2_server)
    call = urllib.request.Request(
        f"{ct2_server}/predict", json.dumps(request).encode(), {"content-type": "application/json"}
    )
    answer = json.load(urllib.request.urlopen(call, timeout=30))
    command = ["lukewarm", "predict", "--bundle", str(ct2_bundle), "--request", json.dumps(request), "--json"]
    here = run(Path(sys.executable).parent / command[0], *command[1:], cwd=tmp_path)
    expected = json.loads(here.stdout)
    assert answer["completion_tokens"] > 0
    assert (answer["text"], answer["finish_reason"]) == (expected["text"], expected["finish_reason"])


def test_a_missing_extra_says_what_to_type(ct2_environment: Path, ct2_bundle: Path, tmp_path: Path) -> None:
    manifest = json.loads((ct2_bundle / "bundle.json").read_text())
    (tmp_path / "bundle.json").write_text(json.dumps({**manifest, "backend": "ort"}))
    for file in manifest["files"]:
        (tmp_path / file["path"]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file["path"]).write_bytes((ct2_bundle / file["path"]).read_bytes())
    done = run(ct2_environment / "lukewarm", "predict", "x", "--bundle", tmp_path, cwd=tmp_path)
    assert done.returncode == 8, done.stderr
    assert "pip install 'lukewarm[ort]'" in done.stderr
    assert "Traceback" not in done.stderr
