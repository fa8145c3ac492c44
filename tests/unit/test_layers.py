"""Arrows run one way: each layer imports with only the lower roots on sys.path, and the shipped layer stays light."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# package -> source roots it may see
LAYERS = {
    "predictors": ["predictors"],
    "serving": ["predictors"],
    "convert": ["predictors"],
    "adapters": ["predictors", "adapters"],
    "images": ["predictors", "adapters"],
    "testing": ["predictors", "adapters"],
    "benchmarks": ["predictors", "adapters", "benchmarks"],
    "costs": ["predictors", "adapters", "benchmarks"],
    "cli": ["predictors", "adapters", "benchmarks", "cli"],
}
# inside one source root a path cannot tell: these imports are looked for in the text
FORBIDDEN = {
    "predictors": ["serving", "convert"],
    "serving": ["convert"],
    "costs": ["benchmarks"],
    "images": ["adapters"],
}
HEAVY = [
    "torch",
    "transformers",
    "onnxruntime",
    "ctranslate2",
    "bitsandbytes",
    "onnx",
    "numpy",
    "tokenizers",
    "yaml",
    "click",
    "starlette",
    "uvicorn",
    "bentoml",
    "cog",
    "modal",
    "runpod",
    "potassium",
    "matplotlib",
    "httpx",
]


def root_of(package: str) -> Path:
    return next(ROOT.glob(f"*/lukewarm/{package}"))


def modules(package: str) -> list[str]:
    folder = root_of(package)
    names = []
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        if "__main__" not in parts:
            names.append(".".join(("lukewarm", *(part for part in parts if part != "__init__"))))
    return names


def run(code: str, roots: list[str]) -> subprocess.CompletedProcess[str]:
    # -S keeps the editable install's .pth out; third-party packages come back by their folder
    paths = [str(ROOT / name) for name in roots] + [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    prelude = f"import sys; sys.path[:0] = {paths!r}\n"
    return subprocess.run(
        [sys.executable, "-S", "-c", prelude + code], capture_output=True, text=True, timeout=120, cwd=ROOT / "tests"
    )


@pytest.mark.parametrize("package", LAYERS)
def test_imports_with_only_lower_roots(package: str) -> None:
    done = run(
        "import importlib\n" + "\n".join(f"importlib.import_module({n!r})" for n in modules(package)), LAYERS[package]
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_wrong_arrow_is_seen() -> None:
    """The check itself can fail: the lowest layer does not find a higher one."""
    done = run("import lukewarm.cli.command", LAYERS["predictors"])
    assert "No module named 'lukewarm.cli'" in done.stderr


@pytest.mark.parametrize(("package", "higher"), [(p, h) for p, names in FORBIDDEN.items() for h in names])
def test_no_arrow_up_inside_a_source_root(package: str, higher: str) -> None:
    for path in root_of(package).rglob("*.py"):
        text = path.read_text("utf-8")
        assert f"from lukewarm.{higher}" not in text, path
        assert f"import lukewarm.{higher}" not in text, path


def test_shipped_core_loads_nothing_heavy() -> None:
    """`import lukewarm.predictors` brings msgspec and the standard library, nothing else."""
    done = run(f"import lukewarm.predictors\nprint([m for m in {HEAVY!r} if m in sys.modules])", ["predictors"])
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_shipped_core_import_is_light() -> None:
    """Fewer than 120 modules beyond the bare interpreter's: a count, since a time would depend on the machine."""
    code = "before = set(sys.modules)\nimport lukewarm.predictors\nprint(len(set(sys.modules) - before))"
    done = run(code, ["predictors"])
    assert 0 < int(done.stdout) < 120, done.stdout + done.stderr


def test_no_package_above_the_leaves() -> None:
    """`lukewarm` is a namespace: a file `lukewarm/__init__.py` would hide the other roots."""
    assert not list(ROOT.glob("*/lukewarm/__init__.py"))
    assert not [
        name for name in ("predictors", "adapters", "benchmarks", "cli") if (ROOT / name / "__init__.py").exists()
    ]
