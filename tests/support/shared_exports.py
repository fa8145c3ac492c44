"""Graphs exported once a session: the precisions of one model differ only in what is done to the same graph."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

Export = Callable[..., None]


def shared(export: Export, folder: Path) -> Export:
    """`onnx_graph.export`, which copies what it wrote before for a module of equal weights, settings and names."""

    def run(module: Any, arguments: tuple[Any, ...], path: Path, names: Any, shapes: Any) -> None:
        kept = folder / _key(module, names)
        if not kept.exists():
            export(module, arguments, path, names, shapes)
            kept.mkdir()
            for file in path.parent.glob(f"{path.name}*"):
                shutil.copyfile(file, kept / file.name)
        for file in kept.iterdir():
            shutil.copyfile(file, path.parent / file.name)

    return run


def _key(module: Any, names: Any) -> str:
    found = hashlib.sha256(repr([list(part) for part in names]).encode())
    config = getattr(getattr(module, "model", None), "config", None)
    found.update(b"" if config is None else config.to_json_string(use_diff=False).encode())
    for name, tensor in module.state_dict().items():
        found.update(name.encode())
        found.update(tensor.numpy().tobytes())
    return found.hexdigest()
