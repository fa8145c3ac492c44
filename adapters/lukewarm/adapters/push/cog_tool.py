"""Cog's own command, for those who have it and Docker: it builds and pushes the artifact as Replicate documents it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from lukewarm.adapters.push.base import Run
from lukewarm.predictors.errors import NotLoggedIn, ProviderError

_TIMEOUT_S = 4 * 3600.0
_LOGIN_WORDS = ("unauthorized", "not logged in", "cog login", "authentication")


def cog_push(artifact: Path, image: str, run: Run) -> None:
    """`cog push IMAGE` in the artifact's folder. Raises ProviderError, NotLoggedIn."""
    cog = shutil.which("cog", path=run.env.get("PATH"))
    if cog is None:
        raise ProviderError(
            "cog is not on PATH: install it (https://cog.run), or leave out --builder cog to push without it",
            reason="unavailable",
        )
    run.progress(f"cog push {image}", None)
    try:
        done = subprocess.run(
            [cog, "push", image], cwd=artifact, env=dict(run.env), capture_output=True, text=True, timeout=_TIMEOUT_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ProviderError("cog push did not end within four hours", reason="unavailable") from error
    if done.returncode == 0:
        return
    said = " ".join(line.strip() for line in (done.stderr or done.stdout).splitlines()[-8:] if line.strip())
    if any(word in said.lower() for word in _LOGIN_WORDS):
        raise NotLoggedIn(f"cog push: {said}; run: cog login")
    raise ProviderError(f"cog push failed: {said}")
