"""A tiny model converted to a bundle, for tests that serve it."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def converted(source: Path, root: Path, task: Any, backend: str = "ort", name: str = "tiny") -> Path:
    """The bundle's directory under `root`, at fp32."""
    from lukewarm.convert.api import ConvertOptions, convert_model
    from lukewarm.predictors.spec import ModelSpec

    spec = ModelSpec(name=name, source=str(source), task=task, backend=backend, precision="fp32")
    quiet = ConvertOptions(keep_over_budget=True)
    return convert_model(spec, root, root, options=quiet, progress=lambda _text, _part: None).root
