"""A fixed spec, bundle and options, so that a plan's files can be compared byte for byte; the reader of Dockerfiles.

`python tests/support/artifacts.py` writes the golden files anew; look at the difference before committing it.
"""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

from lukewarm.adapters.base import Adapter, ArtifactPlan, PlanOptions
from lukewarm.adapters.targets import TARGETS
from lukewarm.predictors.bundle import FORMAT, Bundle, BundleFile, Manifest
from lukewarm.predictors.spec import Batching, Generation, Limits, ModelSpec, Resources, Scaling

GOLDEN = Path(__file__).parents[1] / "golden"
OPTIONS = PlanOptions(requirements=("ctranslate2==4.8.5", "msgspec==0.22.0", "tokenizers==0.22.1"))
MANIFEST = Manifest(
    format=FORMAT,
    name="parrot",
    task="text-generation",
    backend="ct2",
    precision="int8",
    files=[
        BundleFile(path="model.bin", bytes=137_000_000, sha256="ab" * 32),
        BundleFile(path="tokenizer.json", bytes=2_100_000, sha256="cd" * 32),
    ],
)
BUNDLE = Bundle(Path("bundles/parrot-ct2-int8"), MANIFEST)
SPEC = ModelSpec(
    name="parrot",
    source="models/parrot",
    generation=Generation(max_new_tokens=64, stop=["\n\n"]),
    resources=Resources(cpu=4, memory_gb=16, gpu="L4"),
    scaling=Scaling(max_instances=2, idle_timeout_s=30, concurrency=2),
    batching=Batching(max_items=4),
    limits=Limits(queue=8, request_timeout_s=60),
    requirements=["regex==2026.1.1"],
    system_packages=["libgomp1", "ffmpeg"],
    env={"GREETING": 'say "hi" for $5 \\o/'},
    secrets=["HF_TOKEN"],
)


def plan(target: str, spec: ModelSpec = SPEC, options: PlanOptions = OPTIONS) -> ArtifactPlan:
    """The plan of one target for the fixed bundle."""
    adapter: Adapter = TARGETS.load(target)
    return adapter.plan(spec, BUNDLE, options)


def instructions(text: str) -> list[tuple[str, Any]]:
    """A Dockerfile's instructions: JSON forms as lists, ENV as a mapping, the rest as text."""
    found: list[tuple[str, Any]] = []
    for line in text.split("\n"):
        assert not line.endswith("\\"), "a line that goes on would swallow the next"
        if not line or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        if rest.startswith("["):
            found.append((word, json.loads(rest)))
        elif word == "ENV":
            pairs = [pair.partition("=") for pair in shlex.split(rest)]
            found.append((word, {name: value.replace("\\$", "$") for name, _, value in pairs}))
        else:
            found.append((word, rest))
    return found


def write_golden() -> None:
    for row in TARGETS:
        shutil.rmtree(GOLDEN / row.name, ignore_errors=True)
        for path, content in plan(row.name).files.items():
            (GOLDEN / row.name / path).parent.mkdir(parents=True, exist_ok=True)
            (GOLDEN / row.name / path).write_bytes(content)


if __name__ == "__main__":
    write_golden()
