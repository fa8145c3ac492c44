"""Ctrl-C at any moment of a verb: one line, exit code 130, never Python's own traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

# sends itself SIGINT when it imports the module named in the environment: a moment that does not depend on speed
AT = """\
import importlib.abc, os, signal, sys


class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == os.environ["AT"]:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)


sys.meta_path.insert(0, Watch())
from lukewarm.cli.main import main

main()
"""


def interrupted(at: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", AT, *arguments]
    return subprocess.run(argv, env={**os.environ, "AT": at}, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "at", ["lukewarm.cli.command", "click", "msgspec", "lukewarm.cli.schema", "lukewarm.predictors"]
)
def test_while_it_is_still_importing(at: str) -> None:
    done = interrupted(at, "schema")
    assert done.stderr.strip() == "interrupted; run the same command again to go on"
    assert done.returncode == 130


def test_before_anything_of_it_there_is_only_python_itself() -> None:
    """What is imported before the answer is ready: no module of ours but the namespace and the entry."""
    script = "import sys; before = set(sys.modules); import lukewarm.cli.main; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {script}"],
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    found = set(done.stdout.strip("[]\n").replace("'", "").split(", "))
    assert {name for name in found if name.startswith("lukewarm")} == {"lukewarm", "lukewarm.cli", "lukewarm.cli.main"}
    assert len(found) < 25, found


def test_where_a_shell_has_it_ignored_it_stays_ignored() -> None:
    argv = [sys.executable, "-c", AT, "schema"]
    done = subprocess.run(argv, env={**os.environ, "AT": "click"}, capture_output=True, text=True, timeout=60,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
