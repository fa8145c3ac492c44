"""Runs a Truss in Truss's own server template, unchanged but for the address it binds, in a cached environment.

The template is a folder inside the `truss` wheel; its requirements cannot live beside the other SDKs', so they get a
virtual environment of their own under the user's cache, made on first use with pip.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

TRUSS = "truss>=0.18,<0.19"
# the template asks for a certifi newer than any that is published; nothing in it needs that one
RELAXED = ("certifi",)
# what `truss image build-context` fills in and the server reads
FILLED_IN: dict[str, Any] = {
    "model_class_filename": "model.py",
    "model_class_name": "Model",
    "model_module_dir": "model",
    "data_dir": "data",
    "input_type": "Any",
    "model_metadata": {},
    "secrets": {},
    "environment_variables": {},
}


def cache_folder(requirements: str) -> Path:
    """The environment's place: one per set of requirements."""
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lukewarm"
    return base / f"truss-{hashlib.sha256(f'{TRUSS} {sys.version} {requirements}'.encode()).hexdigest()[:12]}"


def prepare(folder: Path, requirements: str) -> None:
    """Make the environment unless it stands; a half-made one is made again."""
    if (folder / "ready").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    say(f"making Truss's environment in {folder}")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "download", "--no-deps", "-d", str(folder / "wheel"), TRUSS], check=True)
    with zipfile.ZipFile(next((folder / "wheel").glob("truss-*.whl"))) as wheel:
        for name in wheel.namelist():
            if name.startswith(("truss/templates/server/", "truss/templates/shared/")):
                wheel.extract(name, folder)
    lines = (folder / "truss/templates/server/requirements.txt").read_text().splitlines()
    wanted = [line for line in lines if not line.startswith(("-", "#")) and not line.startswith(RELAXED)]
    (folder / "requirements.txt").write_text("\n".join([*wanted, requirements]) + "\n")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = str(folder / "venv/bin/python")
    subprocess.run([python, "-m", "pip", "-q", "install", "-r", str(folder / "requirements.txt")], check=True)
    (folder / "ready").touch()


def lay_out(artifact: Path, templates: Path, work: Path, host: str) -> None:
    """The folder that Truss's Dockerfile would make of the artifact."""
    import yaml

    shutil.copytree(templates / "server", work, dirs_exist_ok=True)
    shutil.copytree(templates / "shared", work / "_truss_shared")
    server = work / "truss_server.py"
    server.write_text(server.read_text().replace('host="0.0.0.0"', f"host={host!r}"))
    for name in ("model", "data", "packages"):
        (work / name).symlink_to(artifact / name)
    config = yaml.safe_load((artifact / "config.yaml").read_text())
    (work / "config.yaml").write_text(yaml.safe_dump({**FILLED_IN, **config}))


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    artifact = arguments.artifact.resolve()
    requirements = (artifact / "requirements.txt").read_text()
    folder = cache_folder(requirements)
    prepare(folder, requirements)
    work = Path(tempfile.mkdtemp(prefix="lukewarm-truss-"))
    lay_out(artifact, folder / "truss/templates", work, arguments.host)
    environment = {
        **os.environ,
        "INFERENCE_SERVER_PORT": str(arguments.port),
        "PYTHONPATH": str(artifact / "packages"),
        "HOME": str(work),
    }
    os.chdir(work)
    python = str(folder / "venv/bin/python")  # as argv[0] too: Python finds its environment by it
    os.execve(python, [python, "main.py"], environment)


if __name__ == "__main__":
    main()
