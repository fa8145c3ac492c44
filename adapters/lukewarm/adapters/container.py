"""The base of every target that is a container with our own ASGI server in it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from lukewarm.adapters.base import (
    DEFAULTS,
    HEADER,
    OVERRIDES,
    Adapter,
    ArtifactPlan,
    LocalServer,
    PlanOptions,
    Process,
    Support,
)
from lukewarm.adapters.capabilities import full
from lukewarm.adapters.dockerfile import BASE_IMAGE_HELP, container, dockerfile
from lukewarm.adapters.render import merge, yaml_source
from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.spec import ModelSpec

IMAGE = "IMAGE"  # stands in a deployment file until the image is pushed and has a name


class AsgiContainer(Adapter):
    """A Dockerfile, `python -m lukewarm.serving`, and the platform's own deployment file where it has one."""

    entry: ClassVar[str] = "Dockerfile"
    runs: ClassVar[str] = "our ASGI server (`python -m lukewarm.serving`), as in the container"
    port: ClassVar[int] = 8080
    deployment: ClassVar[str] = ""  # name of the platform's deployment file
    options: ClassVar[Mapping[str, str]] = {"base_image": BASE_IMAGE_HELP}

    def deploy(self, spec: ModelSpec) -> dict[str, Any]:
        """What the deployment file says, before `overrides`."""
        return {}

    def plan(self, spec: ModelSpec, bundle: Bundle, options: PlanOptions = DEFAULTS) -> ArtifactPlan:
        image = container(self, spec, self.command(), port=self.port)
        files = {}
        if self.deployment:
            files[self.deployment] = yaml_source(merge(self.deploy(spec), self.settings(spec)[OVERRIDES]), HEADER)
        files["Dockerfile"] = dockerfile(image, sorted(options.include), HEADER, closed=options.closed)
        return self.assemble(spec, bundle, options, files, image)

    def command(self) -> list[str]:
        # the platform's $PORT wins over the option's default
        return ["python", "-m", "lukewarm.serving", ".", "--host", "0.0.0.0"]

    def notes(self, spec: ModelSpec) -> tuple[str, ...]:
        if not self.deployment:
            return ()
        return (f"Put the pushed image's name in place of {IMAGE} in {self.deployment}.",)

    def local(self, artifact: Path, host: str, port: int) -> LocalServer:
        argv = (sys.executable, "-m", "lukewarm.serving", ".", "--host", host, "--port", str(port))
        process = Process(argv=argv, cwd=artifact, env={"PYTHONPATH": str(artifact)})
        return LocalServer(processes=(process,), host=host, port=port, wire=self.wire)

    def capabilities(self) -> Mapping[str, Support]:
        return full()


def env_list(spec: ModelSpec) -> list[dict[str, Any]]:
    """The spec's variables as Kubernetes writes them."""
    return [{"name": name, "value": value} for name, value in spec.env.items()]


def kubernetes_resources(spec: ModelSpec) -> dict[str, Any]:
    """Limits as Kubernetes writes them."""
    limits: dict[str, Any] = {"cpu": f"{spec.resources.cpu:g}", "memory": f"{spec.resources.memory_gb:g}Gi"}
    if spec.resources.gpu:
        limits["nvidia.com/gpu"] = str(spec.resources.gpu_count)
    return {"limits": limits}
