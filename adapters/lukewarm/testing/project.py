"""The smallest project that a target can be built of: the echo model under tight limits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from lukewarm.adapters import build
from lukewarm.predictors.bundle import FORMAT, Manifest, write_manifest
from lukewarm.predictors.spec import Limits, ModelSpec, Scaling, Task

DELAY_S = 0.03  # the echo model's time for a word
LIMITS = Limits(queue=2, max_new_tokens=64, max_items=4, body_mb=1.0, drain_timeout_s=10.0)


@dataclass(frozen=True)
class Built:
    """A project of the echo model and one target's artifact of it."""

    spec: ModelSpec
    bundle: Path
    artifact: Path


def echo_project(root: Path, target: str, *, task: Task = "text-generation", slots: int = 1) -> Built:
    """Write an echo bundle and build the target's artifact; `slots` is its `scaling.concurrency`."""
    bundle = root / "echo-bundle"
    bundle.mkdir()
    write_manifest(
        bundle,
        Manifest(
            format=FORMAT,
            name="echo",
            task=task,
            backend="echo",
            precision="none",
            options={"delay_s": DELAY_S},
        ),
    )
    spec = ModelSpec(name="echo", task=task, backend="echo", precision="none", limits=LIMITS)
    spec = msgspec.structs.replace(spec, scaling=Scaling(concurrency=slots))
    artifact = build.build(target, spec, root, bundle, root / "artifact")
    return Built(spec, bundle, artifact.root)
