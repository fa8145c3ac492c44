"""Tensors of the Open Inference Protocol v2, in JSON and in the binary extension, without numpy."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta

from lukewarm.predictors.errors import RequestError
from lukewarm.serving.decoding import json_type

# datatype -> (struct format, Python types of its JSON values)
FORMATS: dict[str, tuple[str, tuple[type, ...]]] = {
    "BOOL": ("?", (bool,)),
    "UINT8": ("B", (int,)),
    "UINT16": ("H", (int,)),
    "UINT32": ("I", (int,)),
    "UINT64": ("Q", (int,)),
    "INT8": ("b", (int,)),
    "INT16": ("h", (int,)),
    "INT32": ("i", (int,)),
    "INT64": ("q", (int,)),
    "FP32": ("f", (int, float)),
    "FP64": ("d", (int, float)),
}
DATATYPES = (*FORMATS, "BYTES")
Value = bool | int | float | bytes


class InputTensor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    shape: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(min_length=1, max_length=8)]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None

    def values(self, binary: bytes | None, at: str) -> list[Value]:
        """The flat values, from the binary part or from `data`. Raises RequestError."""
        if self.datatype not in DATATYPES:
            raise RequestError(
                "unsupported_datatype", f"datatype {self.datatype!r}", f"{at}.datatype", ", ".join(DATATYPES)
            )
        count = math.prod(self.shape)
        values = list(self._from_data(at) if binary is None else self._from_binary(binary, at))
        if len(values) != count:
            message = f"{len(values)} values for shape {self.shape}"
            raise RequestError("shape_mismatch", message, f"{at}.data", f"{count} values")
        return values

    def _from_data(self, at: str) -> Iterator[Value]:
        if self.data is None:
            raise RequestError("missing_key", "the key 'data' is missing", at, "data, or binary_data_size")
        types = FORMATS[self.datatype][1] if self.datatype in FORMATS else (str,)
        for value in _flat(self.data):
            if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
                message = f"expected {self.datatype} values, got {json_type(value)}"
                raise RequestError("wrong_type", message, f"{at}.data", self.datatype)
            yield value.encode("utf-8") if isinstance(value, str) else cast(Value, value)

    def _from_binary(self, binary: bytes, at: str) -> Iterator[Value]:
        if self.datatype == "BYTES":
            yield from _split(binary, at)
            return
        size = struct.calcsize("<" + FORMATS[self.datatype][0])
        if len(binary) % size:
            raise RequestError(
                "shape_mismatch", "the binary data ends inside a value", at, f"a multiple of {size} bytes"
            )
        yield from struct.unpack(f"<{len(binary) // size}{FORMATS[self.datatype][0]}", binary)


class Output(msgspec.Struct, frozen=True):
    """One tensor of an answer."""

    name: str
    datatype: str
    shape: list[int]
    values: Sequence[Any]  # flat; str for BYTES

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "datatype": self.datatype, "shape": self.shape, "data": list(self.values)}

    def as_binary(self) -> tuple[dict[str, Any], bytes]:
        """The tensor's header and its bytes."""
        if self.datatype == "BYTES":
            parts = [str(value).encode("utf-8") for value in self.values]
            data = b"".join(struct.pack("<I", len(part)) + part for part in parts)
        else:
            data = struct.pack(f"<{len(self.values)}{FORMATS[self.datatype][0]}", *self.values)
        header = {"name": self.name, "datatype": self.datatype, "shape": self.shape}
        return {**header, "parameters": {"binary_data_size": len(data)}}, data


def _flat(values: Any) -> Iterator[Any]:
    if isinstance(values, list):
        yield from chain.from_iterable(_flat(value) for value in values)
    else:
        yield values


def _split(binary: bytes, at: str) -> Iterator[bytes]:
    position = 0
    while position < len(binary):
        end = position + 4
        size = int.from_bytes(binary[position:end], "little")
        if end > len(binary) or end + size > len(binary):
            raise RequestError("shape_mismatch", "the binary data ends inside an element", at, "length and bytes")
        yield binary[end : end + size]
        position = end + size
