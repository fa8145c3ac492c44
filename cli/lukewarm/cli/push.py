"""`lukewarm push`: builds artifact and image, shows what will happen and what it costs, asks, and does it."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from lukewarm.cli.common import (
    STATE_DIR,
    Progress,
    Project,
    json_option,
    open_project,
    print_json,
    progress,
    spec_option,
)
from lukewarm.predictors.errors import NotLoggedIn, ProviderError
from lukewarm.predictors.spec import ModelSpec

if TYPE_CHECKING:
    from lukewarm.adapters.build import Artifact
    from lukewarm.adapters.push import Deployment, Provider, PushInput
    from lukewarm.images import Image

UNREACHABLE = ("unavailable", "not_found", "not_logged_in")


@click.command()
@click.argument("provider")
@spec_option
@click.option("--dry-run", is_flag=True, help="Show the plan and its price; send nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--hardware", help="A GPU's name, cpu, or the provider's own name; default: the spec's resources.")
@click.option("--image", "image_reference", help="Where the image goes (Runpod): ghcr.io/me/model[:tag].")
@click.option("--name", help="Name of the deployment, on Replicate owner/name; default: the spec's.")
@click.option("--base", help="Image to build on: a reference, or oci:FOLDER of an OCI layout.")
@click.option("--builder", type=click.Choice(["lukewarm", "cog"]), default="lukewarm", show_default=True,
              help="cog: let Cog's own command build and push (needs it and Docker; Replicate only).")  # fmt: skip
@json_option
def push(provider: str, spec_path: Path, dry_run: bool, yes: bool, as_json: bool, **options: Any) -> None:
    """Push the model to PROVIDER: replicate, modal or runpod.

    Example: lukewarm push runpod --image ghcr.io/me/my-model --dry-run
    """
    from lukewarm.adapters.push import Run, provider_of
    from lukewarm.cli.build import chosen
    from lukewarm.cli.push_report import plan_json, price, print_deployment, print_plan

    found: Provider = provider_of(provider)
    if found.gone:
        raise ProviderError(found.gone, reason="unavailable")
    if options["builder"] == "cog" and provider != "replicate":
        raise click.UsageError("--builder cog is for replicate")
    if not dry_run and not yes and not sys.stdin.isatty():
        raise click.UsageError(
            "standard input is no terminal, so nobody can be asked: give --yes, or --dry-run to look"
        )
    credentials = None if dry_run else found.credentials(os.environ)  # before minutes of building
    show = progress(quiet=as_json and not sys.stderr.isatty())
    given, problem = _prepare(found, chosen(open_project(spec_path), None, None), options, show, dry_run=dry_run)
    plan = found.plan(given)
    priced = price(plan, given.spec)
    notes = [*plan.notes, *([problem] if problem else []), *_login_note(found, dry_run=dry_run)]
    if dry_run and as_json:
        print_json(plan_json(plan, priced, given, notes))
    elif not (as_json and yes):
        print_plan(plan, priced, given, notes, err=as_json)
    if credentials is None:
        return
    if not yes and not click.confirm(f"Push {plan.name} to {provider}?", err=as_json):
        raise click.Abort
    run = Run(progress=show, image=given.image, env=dict(os.environ))
    deployment: Deployment = found.execute(plan, credentials, run)
    if as_json:
        print_json({"plan": plan_json(plan, priced, given, notes), "deployment": deployment})
    else:
        print_deployment(deployment)


def _on_hardware(found: Provider, spec: ModelSpec, asked: str | None) -> ModelSpec:
    """The spec with another GPU: the artifact itself says which (cog.yaml, modal_app.py)."""
    if asked is None:
        return spec
    gpu = found.hardware_for(asked)[1]
    resources = msgspec.structs.replace(spec.resources, gpu=None if gpu == "cpu" else gpu)
    return msgspec.structs.replace(spec, resources=resources)


def _login_note(found: Provider, *, dry_run: bool) -> list[str]:
    """Where a real push would find the login, or that there is none."""
    if not dry_run:
        return []
    try:
        return [f"login: from {found.credentials(os.environ).source}"]
    except NotLoggedIn as error:
        return [str(error)]


def _prepare(
    found: Provider, project: Project, options: dict[str, Any], show: Progress, *, dry_run: bool
) -> tuple[PushInput, str]:
    """Artifact and image, built as far as needed. A dry run goes on without a base image and says so."""
    from lukewarm.adapters.base import OVERRIDES
    from lukewarm.adapters.build import build
    from lukewarm.adapters.push import PushInput
    from lukewarm.adapters.targets import TARGETS

    spec = _on_hardware(found, project.spec, options["hardware"])
    overrides = TARGETS.load(found.target).settings(spec)[OVERRIDES] if found.takes_overrides else {}
    given = PushInput(
        spec=spec, artifact=project.artifact_dir(found.target), artifact_bytes=0, name=options["name"],
        hardware=options["hardware"], builder=options["builder"], image_reference=options["image_reference"],
        options=overrides, env=dict(os.environ),
    )  # fmt: skip
    found.plan(given)  # what is wrong with the options shows before minutes of building
    show(f"building the {found.target} artifact", None)
    artifact = build(found.target, spec, project.root, project.bundle_dir(), project.artifact_dir(found.target))
    image, problem = None, ""
    if found.needs_image and options["builder"] != "cog":
        try:
            image = _build_image(found, Project(spec, project.root), artifact, options["base"], show)
        except ProviderError as error:
            if not dry_run or error.reason not in UNREACHABLE:
                raise
            problem = f"image not built, its bytes are not known: {error}"
    given = replace(given, artifact=artifact.root, artifact_bytes=artifact.total_bytes, image=image)
    return given, problem


def _build_image(found: Provider, project: Project, artifact: Artifact, base: str | None, show: Progress) -> Image:
    from lukewarm.adapters.push.image import image_input
    from lukewarm.adapters.targets import TARGETS
    from lukewarm.images import build_image
    from lukewarm.images.registry import Registry

    store = project.root / STATE_DIR / "images"
    store.mkdir(parents=True, exist_ok=True)
    given = image_input(TARGETS.load(found.target), project.spec, project.root, artifact, base)
    return build_image(given, store, Registry, show)
