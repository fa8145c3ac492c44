"""The Dockerfile of an artifact: packages, weights and sources are layers of their own, rarest change first."""

from __future__ import annotations

from collections.abc import Sequence

from lukewarm.adapters.base import BUNDLE_DIR, SPEC_FILE, Adapter, Container
from lukewarm.adapters.render import docker_apt, docker_env, docker_exec, image_reference
from lukewarm.predictors.spec import ModelSpec

SLIM = "lukewarm/serving/slim.py"  # in the artifact
BASE_IMAGE_HELP = "image to build on; default python:<version>-slim"
# no cache of pip's in the layer; logs appear as they are written
ENV = {"PYTHONUNBUFFERED": "1", "PIP_NO_CACHE_DIR": "1", "ORT_DISABLE_TELEMETRY": "1"}


def container(
    adapter: Adapter,
    spec: ModelSpec,
    command: Sequence[str],
    *,
    port: int | None = None,
    workdir: str = "/app",
    as_entrypoint: bool = False,
) -> Container:
    """How this artifact runs as a container: base image from `targets.<name>.base_image`."""
    given = adapter.settings(spec).get("base_image", f"python:{spec.python}-slim")
    env = {**ENV, "PYTHONPATH": workdir} | ({"PORT": str(port)} if port else {})
    return Container(
        base_image=image_reference(given, f"targets.{adapter.name}.base_image"),
        command=() if as_entrypoint else tuple(command),
        entrypoint=tuple(command) if as_entrypoint else (),
        env={**env, **spec.env},
        system_packages=tuple(spec.system_packages),
        port=port,
        workdir=workdir,
    )


def packages(*, closed: bool) -> str:
    """The lines that install requirements.txt. A closed list is taken as it is, and slimmed in the same layer."""
    if not closed:
        return "".join(
            (
                docker_exec("COPY", ["requirements.txt", "./"]),
                docker_exec("RUN", ["python", "-m", "pip", "install", "-r", "requirements.txt"]),
            )
        )
    return docker_exec("COPY", ["requirements.txt", SLIM, "/tmp/"]) + (
        "RUN python -m pip install --no-deps -r /tmp/requirements.txt && python /tmp/slim.py\n"
    )


def dockerfile(image: Container, files: Sequence[str], header: str, *, closed: bool = False) -> str:
    """The text. `files`: the artifact's own entry files and the user's."""
    top = sorted({path.split("/")[0] for path in files if path not in ("Dockerfile", "requirements.txt", SPEC_FILE)})
    parts = [
        f"# {header}\n",
        f"FROM {image.base_image}\n",
        f"WORKDIR {image.workdir}\n",
        docker_env(image.env),
        docker_apt(image.system_packages),
        packages(closed=closed),
        docker_exec("COPY", [BUNDLE_DIR, f"./{BUNDLE_DIR}"]),
        docker_exec("COPY", ["lukewarm", "./lukewarm"]),
        *(docker_exec("COPY", [path, f"./{path}"]) for path in [SPEC_FILE, *top]),
        # bytecode is part of the image: nothing is compiled during a cold start
        docker_exec("RUN", ["python", "-m", "compileall", "-q", "."]),
        f"EXPOSE {image.port}\n" if image.port else "",
        docker_exec("ENTRYPOINT", image.entrypoint) if image.entrypoint else "",
        docker_exec("CMD", image.command) if image.command else "",
    ]
    return "".join(parts)
