"""Threads of CTranslate2 that wait must sleep soon, but not at once: what its OpenMP library is given."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from lukewarm.predictors.ct2 import loading
from lukewarm.predictors.predictor import Runtime

CODE = (
    "import os; from lukewarm.predictors.ct2.loading import library; library(); print(os.environ.get('GOMP_SPINCOUNT'))"
)


def _load(**settings: str) -> subprocess.CompletedProcess[str]:
    unset = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"OMP_DISPLAY_ENV": "verbose", **settings}
    command = [sys.executable, "-c", CODE]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.models
def test_waiting_threads_sleep_soon_and_no_child_process_is_told() -> None:
    done = _load()
    assert f"GOMP_SPINCOUNT = '{loading.SPINS}'" in done.stderr
    assert done.stdout.strip() == "None"


@pytest.mark.models
def test_a_users_own_choice_stands() -> None:
    done = _load(GOMP_SPINCOUNT="7")
    assert "GOMP_SPINCOUNT = '7'" in done.stderr
    assert done.stdout.strip() == "7"


def test_the_thread_that_loads_a_model_is_gone_afterwards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its OpenMP threads would be counted beside the worker's, and then none is let wait awake."""
    seen: list[threading.Thread] = []

    def translator(_folder: str, **_arguments: object) -> str:
        seen.append(threading.current_thread())
        return "a model"

    library = SimpleNamespace(
        Translator=translator,
        get_cuda_device_count=lambda: 0,
        get_supported_compute_types=lambda _device, _index: {"int8", "float32"},
    )
    monkeypatch.setattr(loading, "library", lambda: library)
    assert loading.load_model("Translator", tmp_path, "int8", Runtime(threads=2, device="cpu")) == "a model"
    assert seen != [threading.current_thread()]
    assert not seen[0].is_alive()
