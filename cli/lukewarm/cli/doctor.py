"""`lukewarm doctor`: is everything here that the spec's backend, targets and providers need?"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from lukewarm.cli import cuda
from lukewarm.cli.common import STATE_DIR, json_option, print_json, spec_option
from lukewarm.predictors import specfile
from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.cpus import available_cpus
from lukewarm.predictors.errors import BundleError, LukewarmError

Status = Literal["ok", "note", "fail"]
_MARK = {"ok": "ok  ", "note": "note", "fail": "FAIL"}


@dataclass(frozen=True)
class Check:
    """One finding; `todo` is what to type, where something can be done."""

    group: str
    name: str
    status: Status
    detail: str
    todo: str = ""


@click.command()
@spec_option
@click.option("--verify", is_flag=True, help="Read every bundle file and compare its sha256.")
@json_option
def doctor(spec_path: Path, verify: bool, as_json: bool) -> int:
    """Check machine, packages, CUDA libraries, spec, bundles and credentials. Exit code 1 if something fails."""
    root = spec_path if spec_path.is_dir() else spec_path.parent
    checks = [*machine(root), *packages(), *gpu(), *project(spec_path, verify), *credentials()]
    if as_json:
        print_json(checks)
    else:
        group = ""
        for check in checks:
            if check.group != group:
                group = check.group
                click.echo(group)
            click.echo(f"  {_MARK[check.status]}  {check.name}: {check.detail}")
            if check.todo:
                click.echo(f"        -> {check.todo}")
    return 1 if any(check.status == "fail" for check in checks) else 0


def machine(root: Path) -> Iterator[Check]:
    """Processor, memory and disk, as they bear on speed."""
    yield Check("machine", "python", "ok", f"{platform.python_version()} on {platform.platform()}")
    flags = _cpu_flags()
    known = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8") if flag in flags]
    vnni = any("vnni" in flag for flag in flags)
    yield Check(
        "machine", "processor", "ok" if vnni or not flags else "note",
        f"{available_cpus()} usable of {os.cpu_count()}; {', '.join(known) or 'no vector flags read'}"
        + ("" if vnni else "; no VNNI: signed per-channel int8 would be noise, so int8 here is weight-only"),
    )  # fmt: skip
    free = shutil.disk_usage(root if root.exists() else ".").free
    status: Status = "ok" if free > 5e9 else "note"
    yield Check("machine", "disk", status, f"{free / 1e9:.1f} GB free at {root}")
    off = os.environ.get("ORT_DISABLE_TELEMETRY") == "1"
    yield Check(
        "machine", "onnxruntime telemetry", "ok" if off else "note",
        "off (ORT_DISABLE_TELEMETRY=1)" if off else "importing onnxruntime writes a device id under the user's cache",
        "" if off else "export ORT_DISABLE_TELEMETRY=1",
    )  # fmt: skip


def packages() -> Iterator[Check]:
    """Per extra: what is installed, what is missing."""
    for extra, names in _extras().items():
        versions = {name: _version(name) for name in names}
        missing = [name for name, version in versions.items() if version is None]
        here = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
        if not missing:
            yield Check("packages", extra, "ok", here)
        else:
            detail = f"missing {', '.join(missing)}" + (f"; here: {here}" if here else "")
            yield Check("packages", extra, "note", detail, f"pip install 'lukewarm[{extra}]'")


def gpu() -> Iterator[Check]:
    """The driver, and per runtime whether the CUDA libraries its binaries name are here."""
    driver = cuda.driver_version()
    yield Check("cuda", "driver", "ok" if driver else "note", f"supports CUDA {driver}" if driver else "none: CPU only")
    try:
        found = cuda.needs()
    except ModuleNotFoundError as error:
        yield Check("cuda", "libraries", "note", f"not read: {error.name} is missing", "pip install 'lukewarm[doctor]'")
        return
    if not found:
        yield Check("cuda", "libraries", "ok", "no installed runtime is a CUDA build")
    for need in found:
        wanted = ", ".join(need.linked or need.opened)
        if need.missing:
            bad: Status = "fail" if driver else "note"
            yield Check("cuda", need.runtime, bad, f"needs {wanted}; not here: {', '.join(need.missing)}")
        else:
            yield Check("cuda", need.runtime, "ok", f"needs {wanted}: all here")


def project(spec_path: Path, verify: bool) -> Iterator[Check]:
    """The spec and its bundles."""
    try:
        file = specfile.find(spec_path) if spec_path.is_dir() else spec_path
        spec = specfile.load(file)
    except LukewarmError as error:
        yield Check("project", "spec", "note" if not spec_path.is_file() else "fail", str(error))
        return
    yield Check("project", "spec", "ok", f"{file}: {spec.name}, {spec.backend} {spec.precision}")
    missing = [name for name in spec.secrets if name not in os.environ]
    if missing:
        yield Check("project", "secrets", "note", f"not in this environment: {', '.join(missing)}")
    for folder in sorted((file.parent / STATE_DIR / "bundles").glob("*/")):
        if folder.name.startswith("."):
            continue
        try:
            bundle = Bundle.open(folder, verify=verify)
        except BundleError as error:
            yield Check("project", f"bundle {folder.name}", "fail", str(error))
            continue
        yield Check("project", f"bundle {folder.name}", "ok", f"{bundle.total_bytes / 1e6:.0f} MB"
                    + (", sha256 verified" if verify else ""))  # fmt: skip


def credentials() -> Iterator[Check]:
    """Where a provider's credentials were found; their values are never read into a message."""
    places = {
        "replicate": (("REPLICATE_API_TOKEN",), "~/.docker/config.json"),
        "modal": (("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"), "~/.modal.toml"),
        "runpod": (("RUNPOD_API_KEY",), "~/.runpod/config.toml"),
    }
    for provider, (names, file) in places.items():
        here = [name for name in names if os.environ.get(name)]
        if len(here) == len(names):
            yield Check("credentials", provider, "ok", f"from {', '.join(here)}")
        elif Path(file).expanduser().is_file():
            yield Check("credentials", provider, "ok", f"{file} exists")
        else:
            yield Check("credentials", provider, "note", f"none: neither {', '.join(names)} nor {file}")


def _extras() -> dict[str, list[str]]:
    """Extra -> its direct packages, from this distribution's own metadata."""
    import re

    extras: dict[str, list[str]] = {}
    for line in importlib.metadata.requires("lukewarm") or []:
        match = re.match(r"([A-Za-z0-9._-]+).*extra == ['\"]([^'\"]+)['\"]", line)
        if match and match.group(1) != "lukewarm":
            extras.setdefault(match.group(2), []).append(match.group(1))
    return extras


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_flags() -> set[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            for line in stream:
                if line.startswith(("flags", "Features")):
                    return set(line.split(":", 1)[1].split())
    except OSError:
        pass
    return set()
