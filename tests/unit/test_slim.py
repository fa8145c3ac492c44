"""Slimming: what a loader maps stays, byte for byte; a package that needs what was taken gets it back."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from lukewarm.serving.slim import slim, without_symbols


def library(package: str, pattern: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return sorted(Path(spec.origin).parent.glob(pattern))[0]


LIBRARIES = [("ctranslate2", "_ext*.so"), ("tokenizers", "tokenizers*.so"), ("numpy", "_core/_multiarray_umath*.so")]


@pytest.mark.parametrize(("package", "pattern"), LIBRARIES)
def test_segments_stay_and_symbols_go(package: str, pattern: str, tmp_path: Path) -> None:
    path = library(package, pattern)
    data = path.read_bytes()
    lighter = without_symbols(data)
    assert lighter is not None
    assert len(lighter) < len(data)
    (tmp_path / "lighter.so").write_bytes(lighter)
    with path.open("rb") as old_file, (tmp_path / "lighter.so").open("rb") as new_file:
        old, new = list(ELFFile(old_file).iter_segments()), list(ELFFile(new_file).iter_segments())
        assert ELFFile(new_file).num_sections() == 0
        for before, after in zip(old, new, strict=True):
            assert bare(old_file, before) == bare(new_file, after)
            kept = ("p_type", "p_vaddr", "p_filesz", "p_memsz", "p_flags", "p_align")
            assert [before[name] for name in kept] == [after[name] for name in kept]
            if before["p_type"] == "PT_LOAD":
                assert (after["p_offset"] - after["p_vaddr"]) % after["p_align"] == 0
    assert without_symbols(lighter) == lighter


def bare(file: BinaryIO, segment: Any) -> bytes:
    """The bytes of a segment without the two headers, whose offsets differ."""
    head = ELFFile(file).header
    data = bytearray(segment.data())
    for start, size in ((0, head["e_ehsize"]), (head["e_phoff"], head["e_phnum"] * head["e_phentsize"])):
        at = start - segment["p_offset"]
        if 0 <= at < len(data):
            data[at : at + size] = bytes(size)
    return bytes(data)


@given(cut=st.integers(0, 4000), at=st.integers(0, 700), byte=st.integers(0, 255))
def test_damaged_libraries_are_left_alone(cut: int, at: int, byte: int) -> None:
    data = bytearray(SMALL[: len(SMALL) - cut])
    data[at] = byte
    made = without_symbols(bytes(data))
    assert made is None or len(made) <= len(data)
    assert without_symbols(bytes(data[:at])) is None or at > 64


SMALL = library("msgspec", "_core*.so").read_bytes()


def test_text_is_no_library() -> None:
    assert without_symbols(b"") is None
    assert without_symbols(b"INPUT(-lfoo)\n") is None
    assert without_symbols(b"\x7fELF\x02\x01" + bytes(58)) is None


def write(site: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)


FILES = {"tests/test_a.py": "x", "tests/__init__.py": "", "a.pyi": "x", "f2py/__init__.py": "", "LICENSE.txt": "keep"}


def test_only_what_is_never_loaded_goes(tmp_path: Path) -> None:
    write(
        tmp_path, {f"numpy/{path}": text for path, text in FILES.items()} | {"numpy/__init__.py": "", "own/a.pyi": ""}
    )
    compiled = tmp_path / "numpy/tests/__pycache__/test_a.cpython-311.pyc"
    write(tmp_path, {str(compiled.relative_to(tmp_path)): "compiled"})
    assert set(slim(tmp_path, sys.executable)) == {"numpy"}
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"numpy/__init__.py", "numpy/tests/__init__.py", "numpy/LICENSE.txt", "own/a.pyi"}


def test_a_package_that_no_longer_loads_is_put_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(
        tmp_path, {f"numpy/{path}": text for path, text in FILES.items()} | {"numpy/__init__.py": "import numpy.f2py"}
    )
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert slim(tmp_path, sys.executable) == {}
    assert "numpy: left as it was" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_it_runs_by_path_without_our_packages(tmp_path: Path) -> None:
    write(tmp_path, {"site/numpy/__init__.py": "", "site/numpy/a.pyi": "x" * 10})
    script = Path(sys.modules[slim.__module__].__file__ or "")
    command = [sys.executable, "-I", "-S", str(script), str(tmp_path / "site")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "numpy: 0.0 MB taken away\n"), done.stderr


@pytest.mark.parametrize("gpu", [False, True])
def test_of_two_engines_one_stays(gpu: bool, tmp_path: Path) -> None:
    """On a GPU the Python module, which opens the sessions there; else the library."""
    capi = tmp_path / "onnxruntime/capi"
    write(tmp_path, {"onnxruntime/__init__.py": ""})
    write(tmp_path, {"onnxruntime/capi/__init__.py": "", "onnxruntime/capi/onnxruntime_pybind11_state.so": "engine"})
    (capi / "libonnxruntime.so.1").write_bytes(SMALL)
    if gpu:
        (capi / "libonnxruntime_providers_cuda.so").write_bytes(b"cuda")
    slim(tmp_path, sys.executable)
    assert (capi / "onnxruntime_pybind11_state.so").exists() == gpu
    assert (capi / "libonnxruntime.so.1").exists() != gpu


def test_without_a_library_that_loads_the_python_module_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, {"onnxruntime/__init__.py": "", "onnxruntime/capi/onnxruntime_pybind11_state.so": "engine"})
    write(tmp_path, {"onnxruntime/capi/libonnxruntime.so.1": "no library"})
    slim(tmp_path, sys.executable)
    assert (tmp_path / "onnxruntime/capi/onnxruntime_pybind11_state.so").exists()
    assert "onnxruntime: left as it was" in capsys.readouterr().err
