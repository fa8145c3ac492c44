"""Takes out of an image's packages what no predictor loads: symbols, tests, a second engine. Runs alone, by path.

`python slim.py [SITE]` works on the site-packages of the Python that runs it, or on the folder SITE. It knows nothing
but the standard library, so that a Dockerfile can run it in the same line as pip. Every package that it changed is
loaded afterwards in a process of its own; one that does not load gets its files back.
"""

from __future__ import annotations

import argparse
import os
import struct
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

# package -> glob patterns below it. Only what its import and our use of it never read; licences stay.
UNUSED: dict[str, tuple[str, ...]] = {
    "numpy": (
        # numpy.testing imports numpy/_core/tests/_natype.py
        "**/tests/**/[!_]*", "**/*.pyi", "**/*.pxd", "**/*.pyx", "**/*.a", "_core/include", "_core/lib", "random/lib",
        "random/_examples", "f2py", "distutils", "_pyinstaller", "_core/_simd*.so", "_core/_*_tests*.so",
    ),
    "onnxruntime": ("transformers", "quantization", "tools", "datasets", "backend"),
    "tokenizers": ("**/*.pyi",),
    "ctranslate2": (),
    "msgspec": ("**/*.pyi",),
}  # fmt: skip
# onnxruntime's engine is there twice, as a library in C, which the predictors open on a CPU, and in the Python module,
# which they import on a GPU: (what the other does not need, what has to load afterwards; SITE stands for the folder)
_ON_GPUS = "onnxruntime/capi/libonnxruntime_providers_cuda.so"
_ENGINES = {
    False: (
        "capi/onnxruntime_pybind11_state*.so",
        "import ctypes, glob; ctypes.CDLL(glob.glob(SITE + '/onnxruntime/capi/libonnxruntime.so*')[0])",
    ),
    True: ("capi/libonnxruntime.so*", "import onnxruntime"),
}
LEAST_GAIN = 0.05  # of a library's bytes; less is not worth a rewrite
_PT_LOAD = 1
_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")  # ELF64, little endian: x86-64 and arm64
_PHDR = struct.Struct("<IIQQQQQQ")
_IMPORT_TIMEOUT_S = 120


def slim(site: Path, python: str | None = None) -> dict[str, int]:
    """Bytes taken away, by package. `python`: the interpreter that must be able to import them; None: no test.

    Only the packages of UNUSED are touched. One that does not load afterwards is put back as it was.
    """
    saved: dict[str, int] = {}
    for package, patterns in UNUSED.items():
        if not (site / package).is_dir():
            continue
        loads = f"import {package}"
        if package == "onnxruntime":
            engine, loads = _ENGINES[(site / _ON_GPUS).exists()]
            patterns = (*patterns, engine)
        with tempfile.TemporaryDirectory(dir=site, prefix=".slim-") as aside:
            moved = _set_aside(site, package, patterns, Path(aside))
            if moved and python and (why := _broken(site, loads, python)):
                for place, kept in moved.items():
                    _restore(kept, place)
                print(f"{package}: left as it was, as it did not load without: {why}", file=sys.stderr)
                continue
            saved[package] = sum(_bytes(kept) - _bytes(place) for place, kept in moved.items())
    return saved


def without_symbols(data: bytes) -> bytes | None:
    """A shared library with its segments alone, all that a loader maps; None where that is not certain to be it.

    Sections (debug information, symbol tables of linkers) are not mapped, but may lie between segments where a tool
    has appended some; so segments are moved together, each to an offset that is the same within its page.
    """
    if data[:6] != b"\x7fELF\x02\x01" or len(data) < _EHDR.size:
        return None
    head = list(_EHDR.unpack_from(data))
    table, size, count = head[5], head[9], head[10]
    if size != _PHDR.size or table + size * count > len(data):
        return None
    headers = [list(_PHDR.unpack_from(data, table + size * index)) for index in range(count)]
    places = _places(headers, len(data))
    new_table = _moved(places, table, size * count)
    if not places or places[0][::2] != (0, 0) or new_table is None or sum(places[-1][1:]) > len(data):
        return None
    made = bytearray(sum(places[-1][1:]))
    for start, length, new in places:
        made[new : new + length] = data[start : start + length]
    for index, header in enumerate(headers):
        new_offset = _moved(places, header[2], header[5]) if header[2] or header[5] else 0
        if new_offset is None:
            return None
        header[2] = new_offset
        _PHDR.pack_into(made, new_table + size * index, *header)
    head[5], head[6] = new_table, 0  # no section headers, so size, count and names' index are 0 too
    head[11:14] = [0, 0, 0]
    _EHDR.pack_into(made, 0, *head)
    return bytes(made)


def _places(headers: list[list[int]], size: int) -> list[tuple[int, int, int]]:
    """Old offset, bytes and new offset of every loaded segment, in order; empty where they overlap or are cut off."""
    places: list[tuple[int, int, int]] = []
    end = last = 0
    for offset, length, align in sorted((h[2], h[5], max(h[7], 1)) for h in headers if h[0] == _PT_LOAD):
        if offset < last or offset + length > size:
            return []
        new = end + (offset - end) % align
        places.append((offset, length, new))
        end, last = new + length, offset + length
    return places


def _moved(places: list[tuple[int, int, int]], offset: int, length: int) -> int | None:
    """Where these bytes lie now; None if they were no part of a loaded segment."""
    for start, inside, new in places:
        if start <= offset and offset + length <= start + inside:
            return new + offset - start
    return None


def _set_aside(site: Path, package: str, patterns: tuple[str, ...], aside: Path) -> dict[Path, Path]:
    """Original place -> where it lies now. Libraries are replaced by lighter ones, the rest is gone from its place."""
    moved: dict[Path, Path] = {}

    def put_aside(path: Path) -> None:
        kept = aside / str(len(moved))
        path.rename(kept)
        moved[path] = kept

    for pattern in patterns:
        for path in sorted((site / package).glob(pattern)):
            if path.exists() and "__pycache__" not in path.parts:
                put_aside(path)
                bytecode = path.parent / "__pycache__"
                for compiled in [*bytecode.glob(f"{path.stem}.cpython-*.pyc")] if path.suffix == ".py" else ():
                    put_aside(compiled)
    for path in _libraries(site, package):
        data = path.read_bytes()
        lighter = without_symbols(data)
        if lighter is not None and len(lighter) < (1 - LEAST_GAIN) * len(data):
            mode = path.stat().st_mode
            put_aside(path)
            path.write_bytes(lighter)
            path.chmod(mode)
    return moved


def _libraries(site: Path, package: str) -> Iterator[Path]:
    for folder in (site / package, site / f"{package}.libs"):
        for path in sorted(folder.rglob("*.so*")):
            if path.is_file() and not path.is_symlink():
                yield path


def _restore(kept: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    os.replace(kept, place)


def _broken(site: Path, loads: str, python: str) -> str:
    """The last line of what this code says; empty if it works."""
    code = f"import sys; sys.path.insert(0, {str(site)!r}); {loads.replace('SITE', repr(str(site)))}"
    env = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [python, "-c", code]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_IMPORT_TIMEOUT_S, check=False, env=env)
    except subprocess.TimeoutExpired:
        return f"the import took over {_IMPORT_TIMEOUT_S} s"
    return "" if done.returncode == 0 else ((done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1])


def _bytes(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    return path.stat().st_size if path.exists() else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", nargs="?", type=Path, default=Path(sysconfig.get_paths()["platlib"]))
    arguments = parser.parse_args()
    for package, saved in slim(arguments.site, sys.executable).items():
        print(f"{package}: {saved / 1e6:.1f} MB taken away")


if __name__ == "__main__":
    main()
