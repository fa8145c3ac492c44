"""A bundle of the `echo` backend, written by hand: the smallest thing that can be loaded, served and measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lukewarm.predictors.bundle import FORMAT, Manifest, write_manifest


def write_echo_bundle(root: Path, **options: Any) -> Path:
    """Write the bundle and return its folder. `options`: see EchoPredictor."""
    root.mkdir(parents=True)
    manifest = Manifest(
        format=FORMAT, name="echo", task="text-generation", backend="echo", precision="none", options=options
    )
    write_manifest(root, manifest)
    return root
