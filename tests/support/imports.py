"""Foreign projects for tests of `lukewarm import`: laid out from texts, and what was lost, as one text."""

from __future__ import annotations

from pathlib import Path

from lukewarm.adapters.imports import Imported


def lay(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def losses(imported: Imported) -> str:
    return "\n".join(str(loss) for loss in imported.losses)
