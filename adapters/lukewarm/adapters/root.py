"""The reference model's files at the top of this repository: `python -m lukewarm.adapters.root [FOLDER]` writes them.

They are what the adapters make of the spec there, with bundle and sources in place, so that `bentoml serve` works.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from lukewarm.adapters.base import Adapter, PlanOptions
from lukewarm.adapters.requirements import runtime_requirements
from lukewarm.adapters.targets import TARGETS
from lukewarm.predictors import specfile
from lukewarm.predictors.bundle import FORMAT, Bundle, Manifest, directory_name
from lukewarm.predictors.spec import ModelSpec

ROOT_TARGETS = ("bento", "cog")
SOURCES = "predictors"
BUNDLES = ".lukewarm/bundles"


def root_files(spec: ModelSpec) -> dict[str, bytes]:
    """Path -> content. Reads no bundle: in place, an entry only names the folder."""
    folder = f"{BUNDLES}/{directory_name(spec.name, spec.backend, spec.precision)}"
    manifest = Manifest(
        format=FORMAT, name=spec.name, task=spec.task, backend=spec.backend, precision=spec.precision
    )  # fmt: skip
    files: dict[str, bytes] = {}
    for name in ROOT_TARGETS:
        adapter: Adapter = TARGETS.load(name)
        # not pinned: these files do not change with the machine that writes them
        requirements = runtime_requirements(spec.backend, adapter.image_extra, asgi=adapter.needs_asgi, pinned=False)
        options = PlanOptions(
            requirements=requirements, root=folder, sections=_sections(spec), sources=SOURCES, in_place=True
        )
        files |= adapter.plan(spec, Bundle(Path(folder), manifest), options).files
    return files


def _sections(spec: ModelSpec) -> dict[str, Any]:
    """What a server reads of the spec and a bundle does not hold; only what differs from the defaults."""
    plain: dict[str, Any] = msgspec.to_builtins(spec)
    sections = {name: dict(plain.get(name, {})) for name in ("scaling", "batching", "limits")}
    sections["scaling"] = {key: value for key, value in sections["scaling"].items() if key == "concurrency"}
    return {name: values for name, values in sections.items() if values}


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    for name, content in root_files(specfile.load(root)).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
        print(root / name)


if __name__ == "__main__":
    main()
