"""From an artifact to an image: what the adapter says of its container, and what Cog's runtime needs instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lukewarm.adapters.base import Adapter, Container
from lukewarm.adapters.build import Artifact, plan_options
from lukewarm.adapters.push.base import Step
from lukewarm.images import Image, ImageInput, Reference, parse_reference
from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.errors import SpecError, UnsupportedError
from lukewarm.predictors.spec import ModelSpec

COG_PORT = 5000
COG_LABELS = "run.cog."


def image_input(
    adapter: Adapter, spec: ModelSpec, spec_root: Path, artifact: Artifact, base: str | None = None
) -> ImageInput:
    """What `images.build_image` needs for this artifact. Raises SpecError, UnsupportedError."""
    if spec.system_packages:
        raise UnsupportedError(
            f"system packages ({', '.join(spec.system_packages)}) need an engine to install: use a base image that has "
            "them (--base) and take them out of system_packages, or build the artifact's Dockerfile"
        )
    if adapter.name == "cog":
        container, labels = cog_container(spec), cog_labels(artifact.root)
    else:
        plan = adapter.plan(spec, Bundle.open(artifact.root / "bundle"), plan_options(adapter, spec, spec_root))
        if plan.container is None:
            raise UnsupportedError(f"a {adapter.name} artifact is no container image")
        container, labels = plan.container, {}
    env = {name: value for name, value in container.env.items() if not name.startswith("PIP_")}
    return ImageInput(
        name=f"{spec.name}-{adapter.name}", artifact=artifact.root, base=base or container.base_image,
        command=container.command, requirements=tuple(artifact.manifest.requirements), python=spec.python,
        workdir=container.workdir, env=env, labels=labels, port=container.port, budget_mb=spec.image_budget_mb,
    )  # fmt: skip


def cog_container(spec: ModelSpec) -> Container:
    """As the images that `cog build` makes, its server on port 5000 in /src; without tini."""
    env = {
        "PYTHONUNBUFFERED": "1", "COG_PREDICT_TYPE_STUB": "run.py:Runner", "PYTHONPATH": "/src",
        "ORT_DISABLE_TELEMETRY": "1", **spec.env,
    }  # fmt: skip
    if spec.scaling.concurrency > 1:
        env["COG_MAX_CONCURRENCY"] = str(spec.scaling.concurrency)
    if spec.resources.gpu:
        env["NVIDIA_DRIVER_CAPABILITIES"] = "all"
        env["LD_LIBRARY_PATH"] = "/usr/lib/x86_64-linux-gnu:/usr/local/nvidia/lib64:/usr/local/nvidia/bin"
    return Container(
        base_image=f"python:{spec.python}-slim", command=("python", "-m", "cog.server.http"), env=env, workdir="/src",
        port=COG_PORT,
    )  # fmt: skip


def cog_labels(artifact: Path) -> dict[str, str]:
    """The labels by which Replicate reads a model's configuration and inputs. Raises SpecError if they are missing."""
    import yaml

    try:
        config: Any = yaml.safe_load((artifact / "cog.yaml").read_text("utf-8"))
        schema = json.loads((artifact / ".cog" / "openapi_schema.json").read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SpecError(f"{artifact} is not a whole Cog artifact ({error}); run: lukewarm build cog") from error
    version = next((line.partition("==")[2] for line in _requirements(artifact) if line.startswith("cog==")), "")
    labels = {"config": json.dumps(config, sort_keys=True), "openapi_schema": json.dumps(schema, sort_keys=True)}
    labels |= {"version": version} if version else {}
    return {f"{COG_LABELS}{name}": value for name, value in labels.items()}


def _requirements(artifact: Path) -> list[str]:
    path = artifact / "requirements.txt"
    return path.read_text("utf-8").splitlines() if path.is_file() else []


def tagged(text: str, image: Image | None) -> Reference:
    """A reference with a tag: the user's, or the image's digest: hosts keep what they have of a tag."""
    own = image.manifest.digest[7:19] if image else "digest-of-the-image"
    reference = parse_reference(text, default_tag=own)
    if reference.digest:
        raise SpecError(f"{text!r} names a digest; a push takes a repository, with or without a tag")
    return reference


def push_step(reference: str, size: int | None) -> Step:
    """The step that every provider with an image has."""
    host, _, rest = reference.partition("/")
    path = rest.partition(":")[0]
    return Step(
        what="image: ask for each layer, mount or send what is missing, then the manifest",
        how=f"HEAD, POST, PATCH, PUT {host}/v2/{path}/...",
        upload_bytes=size,
    )
