"""Memory of tensors without numpy: where it lies, who keeps it, and what does not fit."""

from __future__ import annotations

import ctypes
import gc
import weakref

import numpy as np
import pytest

from lukewarm.predictors.ort.buffers import Floats, Integers


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_integers_lie_where_they_say_and_stay_there(dtype: str) -> None:
    buffer = Integers(dtype, [2, 3], range(6))
    kind = {"int32": ctypes.c_int32, "int64": ctypes.c_int64}[dtype]
    assert list((kind * 6).from_address(buffer.address)) == list(range(6))
    buffer.write([9, 8, 7, 6, 5, 2**31 - 1])
    assert list((kind * 6).from_address(buffer.address)) == [9, 8, 7, 6, 5, 2**31 - 1]
    assert Integers(dtype, []).items.tolist() == [0]


def test_values_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="2 values for 3 places"):
        Integers("int64", [3], [1, 2])
    buffer = Integers("int64", [3])
    with pytest.raises(ValueError, match="4 values for 3 places"):
        buffer.write([1, 2, 3, 4])
    with pytest.raises(OverflowError):
        Integers("int32", [1], [2**31])


def test_floats_are_one_memory_for_address_place_and_array() -> None:
    buffer = Floats([2, 3])
    buffer.array()[:] = np.arange(6).reshape(2, 3)
    assert [buffer[place] for place in range(6)] == [0, 1, 2, 3, 4, 5]
    ctypes.c_float.from_address(buffer.address + 4).value = 7.5
    assert buffer.array()[0, 1] == buffer[1] == 7.5
    for place in (-1, 6):
        with pytest.raises(IndexError):
            buffer[place]


def test_an_array_keeps_the_memory_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from lukewarm.predictors.ort import buffers

    freed: list[int] = []
    free = buffers._free
    monkeypatch.setattr(buffers, "_free", lambda address: (freed.append(address), free(address)))
    buffer = Floats([1000])
    address, array = buffer.address, buffer.array()
    array[:] = 3
    del buffer
    gc.collect()
    assert freed == []
    assert array.sum() == 3000
    gone = weakref.ref(array)
    del array
    gc.collect()
    assert gone() is None
    assert freed == [address]


def test_nothing_at_all_and_too_much() -> None:
    assert Floats([0, 5]).array().shape == (0, 5)
    with pytest.raises(MemoryError, match="no memory for"):
        Floats([1 << 60])
