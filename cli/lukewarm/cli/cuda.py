"""Which CUDA libraries the installed runtimes need, read from their own binaries, and whether they are here."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RUNTIMES = {
    "torch": "torch",
    "onnxruntime": "onnxruntime",
    "ctranslate2": "ctranslate2",
    "bitsandbytes": "bitsandbytes",
}
_CUDA_NAME = re.compile(
    rb"lib(?:cuda|cudart|cublas|cublasLt|cudnn|cufft|curand|cusparse|cusolver|nvrtc|nvJitLink|nccl)\.so(?:\.\d+)*"
)
_MAX_SCAN_BYTES = 4 << 30


@dataclass(frozen=True)
class CudaNeed:
    """What one runtime needs: `linked` the loader must find at start, `opened` is looked for at run time by name."""

    runtime: str
    linked: tuple[str, ...]
    opened: tuple[str, ...]
    missing: tuple[str, ...]


def driver_version() -> str | None:
    """The CUDA version the installed driver supports, as `12.4`; None without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        version = ctypes.c_int()
        if driver.cuDriverGetVersion(ctypes.byref(version)) != 0:
            return None
    except (OSError, AttributeError):
        return None
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def needs() -> list[CudaNeed]:
    """One entry per installed runtime whose binaries name CUDA libraries. A CPU build names none and is left out."""
    found = []
    for runtime, module in RUNTIMES.items():
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            continue
        root = Path(spec.origin).parent
        folders = [root, *root.parent.glob(f"{module}.libs")]
        linked, opened = set[str](), set[str]()
        for path in _binaries(folders):
            names = _linked(path)
            linked |= names
            opened |= _named(path) - names
        # names without a version are looked for by trial; a missing one is not an error
        wanted = linked or {name for name in opened if not name.endswith(".so")}
        if wanted:
            found.append(
                CudaNeed(runtime, tuple(sorted(linked)), tuple(sorted(opened - linked)), _missing(wanted, root))
            )
    return found


def _missing(wanted: set[str], root: Path) -> tuple[str, ...]:
    """Names of which no version is here: a runtime that names libcublas.so.11 and .12 carries one binary for each."""
    families: dict[str, list[str]] = {}
    for name in sorted(wanted):
        families.setdefault(name.split(".so")[0], []).append(name)
    absent = [names for names in families.values() if not any(_is_here(name, root) for name in names)]
    return tuple(" or ".join(names) for names in absent)


def _binaries(folders: list[Path]) -> Iterator[Path]:
    for folder in folders:
        for path in sorted(folder.rglob("*.so*")):
            if path.is_file() and not path.is_symlink() and path.stat().st_size < _MAX_SCAN_BYTES:
                yield path


def _linked(path: Path) -> set[str]:
    """CUDA libraries among the file's DT_NEEDED entries."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.dynamic import DynamicSection
    from elftools.elf.elffile import ELFFile

    names: set[str] = set()
    with path.open("rb") as stream:
        try:
            section = ELFFile(stream).get_section_by_name(".dynamic")
        except ELFError:
            return names
        if isinstance(section, DynamicSection):
            names = {tag.needed for tag in section.iter_tags() if tag.entry.d_tag == "DT_NEEDED"}
    return {name for name in names if _CUDA_NAME.fullmatch(name.encode())}


def _named(path: Path) -> set[str]:
    """CUDA libraries that the file names as strings, as those loaded by dlopen are."""
    names: set[str] = set()
    with path.open("rb") as stream:
        tail = b""
        while piece := stream.read(1 << 24):
            names |= {match.decode() for match in _CUDA_NAME.findall(tail + piece)}
            tail = piece[-64:]
    return names


def _is_here(name: str, root: Path) -> bool:
    folders = [*root.parent.glob("nvidia/*/lib"), root, root / "lib", *root.parent.glob(f"{root.name}.libs")]
    folders += [Path(folder) for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    if any((folder / name).exists() for folder in folders):
        return True
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
