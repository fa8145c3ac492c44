"""Small artifacts and connections for the tests of images and pushes: an echo bundle, no model, no network."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lukewarm.images.auth import Login
from lukewarm.images.reference import Reference
from lukewarm.images.registry import Registry
from lukewarm.images.retry import Retry
from lukewarm.predictors.bundle import Manifest, list_files, write_manifest

QUICK = Retry(tries=4, base_s=0.001, max_s=0.01, sleep=lambda seconds: time.sleep(min(seconds, 0.01)))


def make_bundle(root: Path, weights: bytes = b"w" * 3000) -> Path:
    """A bundle of the echo backend with one file that stands for weights."""
    root.mkdir(parents=True)
    (root / "weights.bin").write_bytes(weights)
    files = list_files(root)
    write_manifest(
        root,
        Manifest(format=1, name="demo", task="text-generation", backend="echo", precision="none", files=files),
    )
    return root


def make_artifact(root: Path, weights: bytes = b"w" * 3000, code: str = "print('hello')\n") -> Path:
    """What an adapter builds, as far as an image cares: a bundle and something that runs."""
    make_bundle(root / "bundle", weights)
    (root / "main.py").write_text(code)
    (root / "lukewarm.json").write_text('{"name": "demo"}')
    (root / "package").mkdir()
    (root / "package" / "__init__.py").write_text("VALUE = 1\n")
    return root


def connect_with(login: Login | None = None, chunk_bytes: int = 1 << 20) -> Callable[[Reference], Registry]:
    """Connections that retry at once and never look at this machine's logins."""
    return lambda reference: Registry(reference, login=lambda _host: login, retry=QUICK, chunk_bytes=chunk_bytes)


def silent(_message: str, _fraction: float | None) -> None:
    """A progress that shows nothing."""


def fill_disk_at(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Files opened for writing from now on refuse what goes beyond `limit` bytes, as a full disk does."""

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file

        def write(self, data: bytes) -> int:
            if self.file.tell() + len(data) > limit:
                raise OSError(errno.ENOSPC, "No space left on device")
            return int(self.file.write(data))

        def __enter__(self) -> Any:
            self.file.__enter__()
            return self

        def __exit__(self, *exc: Any) -> Any:
            return self.file.__exit__(*exc)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, mode="r": Full(real(self, mode)) if set(mode) & set("xwa") else real(self, mode)
    )
