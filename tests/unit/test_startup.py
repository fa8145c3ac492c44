"""What shortens a start: a call beside another, and a heap of huge pages that is given back afterwards."""

from __future__ import annotations

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
