"""Threads of CTranslate2 that wait must sleep soon: what its OpenMP library itself says that it was set to."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

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
    assert "GOMP_SPINCOUNT = '1000'" in done.stderr
    assert done.stdout.strip() == "None"


@pytest.mark.models
def test_a_users_own_choice_stands() -> None:
    done = _load(GOMP_SPINCOUNT="7")
    assert "GOMP_SPINCOUNT = '7'" in done.stderr
    assert done.stdout.strip() == "7"
