"""Runs a Truss in Truss's own server template, unchanged but for the address it binds, in a cached environment.

The template is a folder inside the `truss` wheel; its requirements cannot live beside the other SDKs', so they get a
virtual environment of their own under the user's cache, made on first use with pip.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lukewarm.adapters.requirements import package_name
from lukewarm.predictors.errors import SourceError

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


def cache_folder(kind: str, requirements: str = "") -> Path:
    """A place in the user's cache: one for the template, one per set of requirements for an environment."""
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lukewarm"
    return base / f"{kind}-{hashlib.sha256(f'{TRUSS} {sys.version} {requirements}'.encode()).hexdigest()[:12]}"


def fetch_template() -> tuple[Path, tuple[str, ...]]:
    """The folder of Truss's server template, out of its wheel, and the requirements of the server.

    Raises SourceError without a package index.
    """
    folder = cache_folder("truss-template")
    templates = folder / "truss/templates"
    if not (folder / "ready").exists():
        _fresh(folder)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
        try:
            subprocess.run([*pip, "download", "--no-deps", "-d", str(folder / "wheel"), TRUSS], check=True)
        except subprocess.CalledProcessError as error:
            raise SourceError(f"{TRUSS} cannot be downloaded; the package index has to be in reach") from error
        with zipfile.ZipFile(next((folder / "wheel").glob("truss-*.whl"))) as wheel:
            for name in wheel.namelist():
                if name.startswith(("truss/templates/server/", "truss/templates/shared/")):
                    wheel.extract(name, folder)
        (folder / "ready").touch()
    lines = (templates / "server/requirements.txt").read_text().splitlines()
    bare = (line.partition(" #")[0].strip() for line in lines)
    return templates, tuple(line for line in bare if line and not line.startswith(("-", "#", *RELAXED)))


def prepare(folder: Path, templates: Path, server: Iterable[str], requirements: str) -> None:
    """Make the environment unless it stands; a half-made one is made again. Raises SourceError.

    As Truss builds an image: a package that the artifact names is the artifact's choice, within Truss's constraints.
    """
    if (folder / "ready").exists():
        return
    say(f"making Truss's environment in {folder}")
    _fresh(folder)
    named = {package_name(line) for line in requirements.splitlines()}
    kept = [line for line in server if package_name(line) not in named]
    (folder / "requirements.txt").write_text("\n".join([*kept, requirements]) + "\n")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = str(folder / "venv/bin/python")
    files = ["-r", str(folder / "requirements.txt"), "-c", str(templates / "server/constraints.txt")]
    try:
        subprocess.run([python, "-m", "pip", "-q", "install", *files], check=True)
    except subprocess.CalledProcessError as error:
        raise SourceError("Truss's server and the artifact's packages do not install; pip says why above") from error
    (folder / "ready").touch()


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time makes a folder of the cache; the others wait, and find it made."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fresh(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


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
    folder = cache_folder("truss", requirements)
    try:
        with alone(cache_folder("truss-template")):
            templates, server = fetch_template()
        with alone(folder):
            prepare(folder, templates, server, requirements)
    except SourceError as error:
        raise SystemExit(f"error: {error}") from error
    work = Path(tempfile.mkdtemp(prefix="lukewarm-truss-"))
    lay_out(artifact, templates, work, arguments.host)
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
