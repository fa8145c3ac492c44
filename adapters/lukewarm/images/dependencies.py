"""Installs pinned packages into a folder for the image's Python, with bytecode, the same bytes each time."""

from __future__ import annotations

import os
import platform as machine
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lukewarm.images.layout import disk_errors
from lukewarm.images.oci import LINUX_AMD64, Platform
from lukewarm.predictors.errors import SourceError, StorageError, UnsupportedError
from lukewarm.serving.slim import slim

SITE = "opt/lukewarm/site"  # in the image; on PYTHONPATH
_WHEELS = {"amd64": "x86_64", "arm64": "aarch64"}
_TIMEOUT_S = 3600
# no random order of sets in .pyc constants, no clock
_STABLE = {"PYTHONHASHSEED": "0", "SOURCE_DATE_EPOCH": "0", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass(frozen=True)
class Packages:
    """What to install: requirement lines as pip reads them, for one Python and platform."""

    requirements: tuple[str, ...]
    python: str = "3.11"
    platform: Platform = LINUX_AMD64
    closed: bool = False  # the requirements are all: nothing else is installed, and what is never loaded is taken out


def install(packages: Packages, into: Path) -> Path:
    """Install into `into/site` and return that. Uses uv if it is on PATH or beside this Python, else pip.

    Raises SourceError with the installer's own last lines, StorageError when the disk is full.
    """
    site = into / "site"
    with disk_errors(into):
        site.mkdir(parents=True)
        listing = into / "requirements.txt"
        listing.write_text("".join(f"{line}\n" for line in packages.requirements), "utf-8")
    if packages.requirements:
        options = ["--no-deps"] if packages.closed else []
        command = [*_installer(packages), *options, "--target", str(site), "-r", str(listing)]
        _run(command, "the packages cannot be installed")
    _clean(site)
    if packages.closed:
        with disk_errors(site):
            slim(site, sys.executable if _is_native(packages) else None)
    compile_tree(site, packages.python, SITE)
    return site


def compile_tree(folder: Path, python: str, place: str) -> bool:
    """Write .pyc files (unchecked: never compared with the source) as they will stand at `place` in the image.

    False, and nothing done, when no interpreter of that version is here; the image then compiles at its first start.
    """
    interpreter = _interpreter(python)
    if interpreter is None:
        return False
    command = [interpreter, "-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    # a package may hold a file of another Python version that does not compile: exit code 1, and no .pyc of it
    done = _call([*command, "-s", str(folder), "-p", f"/{place}", str(folder)])
    if "No space left" in done.stderr:
        raise StorageError(f"{folder}: no space left on device; free space there or choose another folder")
    return True


def can_compile(python: str) -> bool:
    """Whether bytecode of that Python version can be written here."""
    return _interpreter(python) is not None


def _installer(packages: Packages) -> list[str]:
    architecture = _WHEELS.get(packages.platform.architecture)
    if packages.platform.os != "linux" or architecture is None:
        raise UnsupportedError(f"no packages for {packages.platform}; these can be built: linux/amd64, linux/arm64")
    native = _is_native(packages)
    if uv := shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent)):
        foreign = ["--python-platform", f"{architecture}-manylinux_2_28", "--only-binary", ":all:"]
        return [
            uv, "pip", "install", "--quiet", "--no-config", "--python-version", packages.python,
            "--python", sys.executable, *([] if native else foreign),
        ]  # fmt: skip
    foreign = [
        "--only-binary", ":all:", "--python-version", packages.python, "--implementation", "cp",
        *(part for tag in ("2_28", "2_17", "2_5") for part in ("--platform", f"manylinux_{tag}_{architecture}")),
        "--platform", f"manylinux2014_{architecture}",
    ]  # fmt: skip
    return [
        sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--no-compile", "--no-warn-script-location",
        "--disable-pip-version-check", "--root-user-action", "ignore", *([] if native else foreign),
    ]  # fmt: skip


def _is_native(packages: Packages) -> bool:
    """Whether this very Python can run them."""
    return (
        sys.platform == "linux"
        and machine.machine() == _WHEELS.get(packages.platform.architecture)
        and packages.python == f"{sys.version_info.major}.{sys.version_info.minor}"
    )


def _interpreter(python: str) -> str | None:
    if python == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    return shutil.which(f"python{python}")


def _clean(site: Path) -> None:
    """Take away what differs from run to run or names this machine's folders."""
    with disk_errors(site):
        for cache in [*site.rglob("__pycache__")]:
            shutil.rmtree(cache)
        for pattern in ("*.dist-info/direct_url.json", "*.dist-info/uv_cache.json", "*.dist-info/REQUESTED", ".lock"):
            for path in [*site.glob(pattern)]:
                path.unlink()
        for script in (site / "bin").glob("*"):
            head = script.open("rb").read(2) if script.is_file() else b""
            if head == b"#!":
                _portable(script)
        for record in site.glob("*.dist-info/RECORD"):  # lists scripts by hash, which just changed
            record.write_text(re.sub(r"(?m)^(?:\.\./)*bin/.*\n", "", record.read_text("utf-8")), "utf-8")


def _portable(script: Path) -> None:
    first, newline, rest = script.read_bytes().partition(b"\n")
    if b"python" in first:
        script.write_bytes(b"#!/usr/bin/env python3" + newline + rest)


def _run(command: list[str], what: str) -> None:
    done = _call(command)
    if done.returncode == 0:
        return
    lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    text = "\n  ".join(lines[-8:])
    if "No space left on device" in text:
        raise StorageError(f"{what}: no space left on device; free space and run again")
    raise SourceError(f"{what} for this image (Python and platform as the spec says):\n  {text}")


def _call(command: list[str]) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **_STABLE}
    for name in ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_USER", "PIP_REQUIRE_VIRTUALENV"):
        env.pop(name, None)
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, env=env, check=False)
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"{command[0]} did not end within {_TIMEOUT_S // 60} minutes; check the network") from error
