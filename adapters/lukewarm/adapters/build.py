"""Writes a plan into a folder, whole or not at all, and says what it weighs."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import msgspec

from lukewarm.adapters.base import Adapter, ArtifactPlan, Copy, PlanOptions
from lukewarm.adapters.closure import closed_list
from lukewarm.adapters.requirements import installed_bytes, runtime_requirements
from lukewarm.adapters.targets import TARGETS
from lukewarm.adapters.vendor import included_files, shipped_sources
from lukewarm.convert.storage import explained
from lukewarm.predictors.bundle import Bundle, sha256
from lukewarm.predictors.errors import BundleError, SpecError, StorageError, UnsupportedError, unknown
from lukewarm.predictors.spec import ModelSpec

MARK = "artifact.json"
FORMAT = 1


class ArtifactFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of an artifact; `path` is relative, with forward slashes."""

    path: str
    bytes: int
    sha256: str


class ArtifactManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What `artifact.json` says."""

    format: int
    target: str
    name: str
    entry: str
    key: str  # digest of the plan and the vendored sources; equal key: nothing to do
    bundle_digest: str
    weights_bytes: int
    total_bytes: int
    requirements: list[str]
    notes: list[str]
    lukewarm: str
    files: list[ArtifactFile]
    closed: bool = False  # `requirements` are all that is needed: installed with --no-deps


@dataclass(frozen=True)
class Artifact:
    """A built folder and its manifest."""

    root: Path
    manifest: ArtifactManifest
    fresh: bool  # written by this call; False: it was there already and nothing had changed

    @classmethod
    def open(cls, root: Path) -> Artifact:
        """Read the manifest of a built folder. Raises StorageError."""
        try:
            manifest = msgspec.json.decode((root / MARK).read_bytes(), type=ArtifactManifest)
        except OSError as error:
            raise StorageError(f"no artifact at {root}; run: lukewarm build") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StorageError(f"{root / MARK} is damaged: {error}; run: lukewarm build") from error
        if manifest.format != FORMAT:
            raise StorageError(f"{root} has artifact format {manifest.format}, not {FORMAT}; run: lukewarm build")
        return cls(root, manifest, fresh=False)

    @property
    def total_bytes(self) -> int:
        return self.manifest.total_bytes


def build(target: str, spec: ModelSpec, spec_root: Path, bundle_dir: Path, out: Path) -> Artifact:
    """Plan one target's artifact and write it. Raises SpecError, BundleError, StorageError, UnsupportedError."""
    adapter: Adapter = TARGETS.load(target)
    for name in spec.targets:
        if name not in TARGETS.names():
            raise SpecError(unknown("target", name, TARGETS.names()), f"targets.{name}")
    bundle = Bundle.open(bundle_dir)
    _check_matches(spec, bundle)
    plan = adapter.plan(spec, bundle, plan_options(adapter, spec, spec_root))
    _check_budget(plan, spec)
    return write(plan, bundle, spec.name, out)


def plan_options(adapter: Adapter, spec: ModelSpec, spec_root: Path) -> PlanOptions:
    """What a plan needs to know of this machine: installed versions and the user's own files."""
    include = {
        path: Copy(source=file, bytes=file.stat().st_size)
        for path, file in included_files([*spec.include, *_own_module(spec, spec_root)], spec_root).items()
    }
    requirements = runtime_requirements(spec.backend, adapter.image_extra, asgi=adapter.needs_asgi, task=spec.task)
    # what a user adds may need what is left out, so pip decides there
    able = adapter.closes and not spec.requirements
    closed = closed_list(requirements, spec.backend, spec.task, spec.python) if able else None
    return PlanOptions(requirements=closed or requirements, closed=closed is not None, include=include)


def _own_module(spec: ModelSpec, spec_root: Path) -> list[str]:
    """The file or package of `predictor` beside the spec; what that imports is for `include` to name."""
    if spec.predictor is None:
        return []
    top = spec.predictor.partition(":")[0].partition(".")[0]
    beside = [name for name in (f"{top}.py", top) if (spec_root / name).exists()]
    if not beside and not spec.include and not spec.requirements:
        raise SpecError(
            f"there is no {top}.py in {spec_root}; put it there, or name what holds it under include or requirements",
            "predictor",
        )
    return beside[:1]


def write(plan: ArtifactPlan, bundle: Bundle, name: str, out: Path) -> Artifact:
    """Write a plan: beside the target first, then renamed. Refuses a folder that is not an artifact of ours."""
    prefix = f"{plan.sources_dir}/" if plan.sources_dir else ""
    sources = {f"{prefix}{path}": file for path, file in shipped_sources().items()} if plan.vendor else {}
    key = _key(plan, sources)
    _refuse_foreign(out)
    if (out / MARK).is_file():
        try:
            old = Artifact.open(out)
        except StorageError:
            old = None  # damaged or of another format: written anew
        if old and old.manifest.key == key and _untouched(old):
            return old
    Bundle.open(bundle.root, verify=True)
    with explained(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        try:
            work.chmod(0o755)
            manifest = _fill(work, plan, bundle, name, sources, key)
            _replace(work, out)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return Artifact(out, manifest, fresh=True)


def _fill(
    work: Path, plan: ArtifactPlan, bundle: Bundle, name: str, sources: Mapping[str, Path], key: str
) -> ArtifactManifest:
    files: list[ArtifactFile] = []
    for path, content in plan.files.items():
        target = _inside(work, path)
        target.write_bytes(content)
        files.append(ArtifactFile(path=path, bytes=len(content), sha256=hashlib.sha256(content).hexdigest()))
    for path, copy in {**plan.copies, **{p: Copy(source=s, bytes=0) for p, s in sources.items()}}.items():
        target = _inside(work, path)
        _link_or_copy(copy.source, target, link=bool(copy.sha256))
        digest = copy.sha256 or sha256(target)
        files.append(ArtifactFile(path=path, bytes=target.stat().st_size, sha256=digest))
    manifest = ArtifactManifest(
        format=FORMAT, target=plan.target, name=name, entry=plan.entry, key=key, bundle_digest=bundle.digest,
        weights_bytes=plan.weights_bytes, total_bytes=sum(file.bytes for file in files),
        requirements=list(plan.requirements), closed=plan.closed, notes=list(plan.notes), lukewarm=version("lukewarm"),
        files=sorted(files, key=lambda file: file.path),
    )  # fmt: skip
    (work / MARK).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
    return manifest


def _link_or_copy(source: Path, target: Path, *, link: bool) -> None:
    """Weights are linked where the file system can: no second copy on disk. Files that people edit are copied."""
    if link:
        try:
            os.link(source, target)
            return
        except OSError:
            pass  # another file system, or one without links
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError as error:
        raise BundleError(f"{source} is missing; run: lukewarm convert --force") from error


def _inside(work: Path, path: str) -> Path:
    target = work / path
    if not target.resolve().is_relative_to(work.resolve()) or path.startswith("/"):
        raise StorageError(f"an artifact file may not lie outside the artifact: {path!r}")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _replace(work: Path, out: Path) -> None:
    """Put the finished folder in place; what was there goes away only after the new one stands."""
    if not out.exists():
        work.rename(out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}-old-", dir=out.parent))
    out.rename(old / "was")
    try:
        work.rename(out)
    except OSError:
        (old / "was").rename(out)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _refuse_foreign(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise StorageError(f"{out} is not a folder; choose another with --out")
    if out.is_dir() and any(out.iterdir()) and not (out / MARK).is_file():
        raise StorageError(f"{out} is not empty and was not written by lukewarm; choose another with --out")


def _untouched(artifact: Artifact) -> bool:
    """Whether all listed files still have their sizes."""
    for file in artifact.manifest.files:
        try:
            if (artifact.root / file.path).stat().st_size != file.bytes:
                return False
        except OSError:
            return False
    return True


def _key(plan: ArtifactPlan, sources: Mapping[str, Path]) -> str:
    digest = hashlib.sha256(f"{FORMAT} {plan.target} {plan.entry}\n".encode())
    for path in sorted(plan.files):
        digest.update(f"{path} {hashlib.sha256(plan.files[path]).hexdigest()}\n".encode())
    for path in sorted(plan.copies):
        copy = plan.copies[path]
        digest.update(f"{path} {copy.sha256 or sha256(copy.source)}\n".encode())
    for path in sorted(sources):
        digest.update(f"{path} {sha256(sources[path])}\n".encode())
    return digest.hexdigest()


def _check_matches(spec: ModelSpec, bundle: Bundle) -> None:
    manifest = bundle.manifest
    if (manifest.task, manifest.backend) != (spec.task, spec.backend):
        raise BundleError(
            f"{bundle.root} is {manifest.task} on {manifest.backend}, the spec says {spec.task} on {spec.backend}; "
            "run: lukewarm convert"
        )


def _check_budget(plan: ArtifactPlan, spec: ModelSpec) -> None:
    """Before anything is written: weights, files and the packages as they are installed here."""
    limit = spec.image_budget_mb
    if limit is None:
        return
    packages = installed_bytes(plan.requirements, closed=plan.closed)
    total = plan.estimated_bytes + packages
    if total > limit * 1e6:
        raise UnsupportedError(
            f"the {plan.target} image would hold {total / 1e6:.0f} MB (weights {plan.weights_bytes / 1e6:.0f} MB, "
            f"packages {packages / 1e6:.0f} MB as installed here), image_budget_mb allows {limit:g}; "
            "choose a smaller precision or backend, or raise the budget"
        )
