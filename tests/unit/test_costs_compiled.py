"""The compiled kernel's cache: a folder per source, none where nothing can be written."""

from __future__ import annotations

from pathlib import Path

import numba
import pytest

from lukewarm.costs import compiled


def test_the_cache_is_named_after_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = compiled.cache_dir()
    assert folder is not None
    assert folder.parent == tmp_path / "lukewarm"
    monkeypatch.setattr(numba, "__version__", "0.0.0")
    other = compiled.cache_dir()
    assert other is not None
    assert other != folder
    monkeypatch.setattr(compiled, "SOURCES", compiled.SOURCES[:2])
    assert compiled.cache_dir() not in (folder, other)


def test_every_file_that_the_kernel_is_made_of_is_a_source() -> None:
    """What kernel.py imports of this package is compiled into it."""
    here = Path(compiled.__file__).parent
    for name in compiled.SOURCES:
        for line in (here / name).read_text("utf-8").splitlines():
            if line.startswith(("from lukewarm.costs.", "from lukewarm.costs import")):
                module = line.split()[1].removeprefix("lukewarm.costs").lstrip(".") or line.split()[3]
                assert f"{module}.py" in (*compiled.SOURCES, "compiled.py"), line


def test_no_cache_where_none_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert compiled.cache_dir() is None
    monkeypatch.setattr(compiled, "_FOLDER", None)
    assert compiled.compiled(lambda x: x + 1)(1) == 2


def test_other_users_of_numba_keep_their_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    compiled.compiled(test_other_users_of_numba_keep_their_cache)
    assert str(tmp_path) == numba.config.CACHE_DIR
