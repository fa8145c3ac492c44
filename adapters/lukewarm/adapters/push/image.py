"""From an artifact to an image: what the adapter, or Cog's own rules, say of its container."""

from __future__ import annotations

from pathlib import Path

from lukewarm.adapters.base import Adapter
from lukewarm.adapters.build import Artifact, plan_options
from lukewarm.adapters.closure import closed_list
from lukewarm.adapters.push.base import Step
from lukewarm.adapters.push.cog_image import cog_image
from lukewarm.images import Image, ImageInput, Reference, parse_reference
from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.errors import SpecError, UnsupportedError
from lukewarm.predictors.spec import ModelSpec


def image_input(
    adapter: Adapter, spec: ModelSpec, spec_root: Path, artifact: Artifact, base: str | None = None
) -> ImageInput:
    """What `images.build_image` needs for this artifact. Raises SpecError, UnsupportedError."""
    if spec.system_packages:
        raise UnsupportedError(
            f"system packages ({', '.join(spec.system_packages)}) need an engine to install: use a base image that has "
            "them (--base) and take them out of system_packages, or build the artifact's Dockerfile"
        )
    requirements, closed, labels = tuple(artifact.manifest.requirements), artifact.manifest.closed, {}
    if adapter.name == "cog":
        cog = cog_image(spec, artifact.root)
        container, labels = cog.container, cog.labels
        requirements = tuple(sorted({*requirements, *cog.sdk}))
        # a build without Cog's own command is free to take a closed list
        all_of_it = None if spec.requirements else closed_list(requirements, spec.backend, spec.task, spec.python)
        requirements, closed = all_of_it or requirements, all_of_it is not None
    else:
        plan = adapter.plan(spec, Bundle.open(artifact.root / "bundle"), plan_options(adapter, spec, spec_root))
        if plan.container is None:
            raise UnsupportedError(f"a {adapter.name} artifact is no container image")
        container = plan.container
    env = {name: value for name, value in container.env.items() if not name.startswith("PIP_")}
    return ImageInput(
        name=f"{spec.name}-{adapter.name}", artifact=artifact.root, base=base or container.base_image,
        command=container.command, requirements=requirements, closed=closed, python=spec.python,
        workdir=container.workdir, env=env, labels=labels, port=container.port, budget_mb=spec.image_budget_mb,
    )  # fmt: skip


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
    return Step(
        what="image: ask for each layer, mount or send what is missing, then the manifest",
        how=f"HEAD, POST, PATCH, PUT {host}/v2/{rest.partition(':')[0]}/...",
        upload_bytes=size,
    )
