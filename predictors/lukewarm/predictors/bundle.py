"""A bundle: one directory of converted weights, tokenizer and `bundle.json`; all that a Predictor needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from lukewarm.predictors.ahead import MANIFEST
from lukewarm.predictors.errors import BundleError
from lukewarm.predictors.spec import Generation, Task

FORMAT = 1


class BundleFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of a bundle; `path` is relative, with forward slashes."""

    path: str
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What `bundle.json` says."""

    format: int
    name: str
    task: Task
    backend: str
    precision: str
    architecture: str = ""  # LlamaForCausalLM, GPT2LMHeadModel ...
    source: str = ""  # as the spec names it
    source_digest: str = ""  # sha256 over the source's files
    key: str = ""  # digest of all that went into this conversion; equal key: nothing to do
    files: list[BundleFile] = []
    generation: Generation = Generation()
    eos_token_ids: list[int] = []
    bos_token_id: int | None = None
    pad_token_id: int | None = None
    decoder_start_token_id: int | None = None
    max_context_tokens: int | None = None  # prompt plus new tokens
    vocab_size: int | None = None
    options: dict[str, Any] = {}  # the backend's own: layer counts, head sizes, pooling ...
    accuracy: dict[str, float] = {}  # measured at conversion, against the source in fp32
    versions: dict[str, str] = {}  # packages that made this bundle
    predictor: str | None = None  # module:Class of a user's own predictor


class Bundle(msgspec.Struct, frozen=True):
    """A manifest and the directory it stands in."""

    root: Path
    manifest: Manifest

    @classmethod
    def open(cls, root: Path, *, verify: bool = False) -> Bundle:
        """Read a bundle and check that every file has its size (`verify`: and its sha256). Raises BundleError."""
        try:
            manifest = msgspec.json.decode((root / MANIFEST).read_bytes(), type=Manifest)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise BundleError(f"no bundle at {root} ({MANIFEST} is missing); run: lukewarm convert") from error
        except OSError as error:
            raise BundleError(f"{root / MANIFEST} cannot be read: {error.strerror}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BundleError(f"{root / MANIFEST} is damaged: {error}; run: lukewarm convert --force") from error
        if manifest.format != FORMAT:
            raise BundleError(
                f"{root} has bundle format {manifest.format}, this lukewarm reads {FORMAT}; run: lukewarm convert"
            )
        bundle = cls(root, manifest)
        bundle._check_files(verify)
        return bundle

    def path(self, name: str) -> Path:
        """The path of one file of the bundle. Raises BundleError if the manifest does not list it."""
        if not any(file.path == name for file in self.manifest.files):
            raise BundleError(f"{self.root} has no {name}; run: lukewarm convert --force")
        return self.root / name

    def has(self, name: str) -> bool:
        return any(file.path == name for file in self.manifest.files)

    @property
    def total_bytes(self) -> int:
        """Bytes of all listed files."""
        return sum(file.bytes for file in self.manifest.files)

    @property
    def digest(self) -> str:
        """sha256 over paths and file digests, in order: equal content, equal digest."""
        import hashlib  # a server starts without it

        lines = sorted(f"{file.path} {file.sha256}" for file in self.manifest.files)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def _check_files(self, verify: bool) -> None:
        for file in self.manifest.files:
            path = self.root / file.path
            if not path.resolve().is_relative_to(self.root.resolve()):
                raise BundleError(f"{self.root / MANIFEST} names a file outside the bundle: {file.path}")
            try:
                size = path.stat().st_size
            except OSError as error:
                raise BundleError(f"{path} is missing; run: lukewarm convert --force") from error
            if size != file.bytes:
                raise BundleError(f"{path} has {size} bytes, not {file.bytes}; run: lukewarm convert --force")
            if verify and sha256(path) != file.sha256:
                raise BundleError(f"{path} does not match its sha256; run: lukewarm convert --force")


def directory_name(name: str, backend: str, precision: str) -> str:
    """The folder of a model's bundle at one backend and precision."""
    return f"{name}-{backend}-{precision}"


def sha256(path: Path) -> str:
    """Hex sha256 of a file, read in pieces."""
    import hashlib

    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def list_files(root: Path) -> list[BundleFile]:
    """Every file below `root` but the manifest, sorted by path."""
    return [
        BundleFile(path=path.relative_to(root).as_posix(), bytes=path.stat().st_size, sha256=sha256(path))
        for path in _walk(root)
        if path.name != MANIFEST or path.parent != root
    ]


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Write `bundle.json` (indented, stable)."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    (root / MANIFEST).write_bytes(text + b"\n")


def _walk(root: Path) -> Iterator[Path]:
    return (path for path in sorted(root.rglob("*")) if path.is_file())
