"""What makes an image one of Cog's: its server, its variables, and the labels by which Replicate reads it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lukewarm.adapters.base import Container
from lukewarm.adapters.requirements import expand, pin
from lukewarm.predictors.errors import SpecError, UnsupportedError
from lukewarm.predictors.spec import ModelSpec

PORT = 5000
LABELS = "run.cog."
_NEED_AN_ENGINE = ("run", "system_packages", "pre_install")  # keys of `build:` that run commands in the image


@dataclass(frozen=True)
class CogImage:
    """A container and what goes into it beside the artifact."""

    container: Container
    labels: dict[str, str]
    sdk: tuple[str, ...]  # `cog build` adds its SDK itself, so the artifact does not ask for it


def cog_image(spec: ModelSpec, artifact: Path) -> CogImage:
    """Read off the artifact's cog.yaml, so that `overrides` count here too. Raises SpecError, UnsupportedError."""
    config, schema = _read(artifact)
    build = config.get("build") or {}
    if needing := [key for key in _NEED_AN_ENGINE if build.get(key)]:
        raise UnsupportedError(
            f"cog.yaml's build.{needing[0]} runs commands in the image, which needs Docker: push with --builder cog, "
            "or use a base image that has the result (--base)"
        )
    sdk = tuple(pin(line) for line in expand("cog"))
    return CogImage(_container(spec, config, build), _labels(config, schema, sdk), sdk)


def _read(artifact: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    import yaml

    try:
        config = yaml.safe_load((artifact / "cog.yaml").read_text("utf-8"))
        schema = json.loads((artifact / ".cog" / "openapi_schema.json").read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SpecError(f"{artifact} is not a whole Cog artifact ({error}); run: lukewarm build cog") from error
    if not isinstance(config, dict) or not isinstance(schema, dict):
        raise SpecError(f"{artifact / 'cog.yaml'} is no mapping; run: lukewarm build cog")
    return config, schema


def _container(spec: ModelSpec, config: dict[str, Any], build: dict[str, Any]) -> Container:
    """As the images that `cog build` makes, its server on port 5000 in /src; without tini."""
    env = {
        "PYTHONUNBUFFERED": "1",
        "COG_PREDICT_TYPE_STUB": str(config.get("run") or config.get("predict") or "run.py:Runner"),
        "PYTHONPATH": "/src",
        "ORT_DISABLE_TELEMETRY": "1",
    }
    if slots := (config.get("concurrency") or {}).get("max"):
        env["COG_MAX_CONCURRENCY"] = str(slots)
    if build.get("gpu"):
        env["NVIDIA_DRIVER_CAPABILITIES"] = "all"
        env["LD_LIBRARY_PATH"] = "/usr/lib/x86_64-linux-gnu:/usr/local/nvidia/lib64:/usr/local/nvidia/bin"
    env |= dict(line.partition("=")[::2] for line in config.get("environment") or [])
    return Container(
        base_image=f"python:{spec.python}-slim", command=("python", "-m", "cog.server.http"), env=env, workdir="/src",
        port=PORT,
    )  # fmt: skip


def _labels(config: dict[str, Any], schema: dict[str, Any], sdk: tuple[str, ...]) -> dict[str, str]:
    labels = {"config": json.dumps(config, sort_keys=True), "openapi_schema": json.dumps(schema, sort_keys=True)}
    version = next((line.partition("==")[2] for line in sdk if line.startswith("cog==")), "")
    labels |= {"version": version} if version else {}
    return {f"{LABELS}{name}": value for name, value in labels.items()}
