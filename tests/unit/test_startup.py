"""What shortens a start: a call beside another, and a heap of huge pages that is given back afterwards."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lukewarm.predictors.startup import HugeHeap, beside

# where blocks lie: made by the first thread before, by new threads inside, by the first thread afterwards
_PLACES = """
import ctypes, sys, threading
from lukewarm.predictors.startup import HugeHeap

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p

def heap():
    # advice for a part of it makes several entries
    lines = [line for line in open("/proc/self/maps") if line.rstrip().endswith("[heap]")]
    ends = [int(end, 16) for line in lines for end in line.split()[0].split("-")]
    return min(ends), max(ends)

def in_heap(size):
    block = libc.malloc(ctypes.c_size_t(size))
    start, end = heap()
    return start <= block < end

def by_a_thread(size):
    found = []
    thread = threading.Thread(target=lambda: found.append(in_heap(size)))
    thread.start()
    thread.join()
    return found[0]

before = in_heap(1 << 20)
with HugeHeap(64 << 20):
    start, end = heap()
    reserved = end - start >= 64 << 20
    inside = all(by_a_thread(1 << 20) for _ in range(32))
print(before, reserved, inside, in_heap(80 << 20))
"""


def test_blocks_of_weights_come_from_one_heap_and_later_ones_do_not() -> None:
    done = subprocess.run([sys.executable, "-c", _PLACES], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["False", "True", "True", "False"], done.stderr


def test_no_heap_is_made_where_nothing_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> None:
        raise AssertionError("the C library was asked")

    monkeypatch.setattr("lukewarm.predictors.startup._libc", asked)
    with HugeHeap(0):
        pass


def test_another_c_library_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lukewarm.predictors.startup._libc", lambda: None)
    with HugeHeap(64 << 20):
        pass


def test_the_heap_is_given_back_when_opening_failed() -> None:
    ended: list[str] = []

    def fail() -> None:
        raise ValueError("cannot be opened")

    wait = beside(fail, lambda: ended.append("ended"))
    with pytest.raises(ValueError, match="cannot be opened"):
        wait()
    assert ended == ["ended"]


def test_beside_gives_the_result() -> None:
    assert beside(lambda: 7)() == 7


LATER = """
import sys
from lukewarm.predictors.startup import later
with later("colorsys"):
    import colorsys
    assert type(colorsys).__name__ == "_Later"
assert "colorsys" not in sys.modules
print(colorsys.ONE_THIRD)
import colorsys as real
assert type(real).__name__ == "module" and colorsys.rgb_to_hsv is real.rgb_to_hsv
with later("colorsys"):
    import colorsys as same
assert same is real is sys.modules["colorsys"]
with later("no_such_module"):
    import no_such_module
with later("wave"):
    import wave
    assert wave.WAVE_FORMAT_PCM == 1  # asked for inside: the real one takes its place
assert type(sys.modules["wave"]).__name__ == "module"
no_such_module.anything
"""


def test_a_module_that_comes_later_is_the_real_one_when_asked() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", LATER], capture_output=True, text=True, env=environment, timeout=60)
    assert done.stdout.startswith("0.333")
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'no_such_module'"


def test_ctranslate2_starts_without_asyncio_and_has_it_when_asked() -> None:
    code = (
        "import sys; from lukewarm.predictors.ct2.loading import library; module = library();"
        "print('asyncio' in sys.modules, type(module.extensions.asyncio.Queue).__name__, 'asyncio' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert done.stdout.split() == ["False", "type", "True"], done.stderr
