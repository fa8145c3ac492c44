"""Bad requests of every task, made from the task's request type, and the bytes that are no picture and no sound."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from lukewarm.predictors.spec import Task
from lukewarm.predictors.tasks import TASKS
from lukewarm.serving.conformance import BadRequest, value_case

# values that are of another type than a field's, by the field's type; a number that is whole is a good float
_WRONG: Mapping[type, tuple[tuple[str, Any], ...]] = {
    msgspec.inspect.StrType: (("number", 1), ("list", ["a"]), ("object", {}), ("boolean", True)),
    msgspec.inspect.BytesType: (("number", 1), ("list", [1, 2]), ("object", {}), ("boolean", False)),
    msgspec.inspect.IntType: (("text", "5"), ("fraction", 1.5), ("boolean", True), ("list", [1])),
    msgspec.inspect.FloatType: (("text", "hot"), ("list", [1.0]), ("boolean", True)),
    msgspec.inspect.BoolType: (("text", "true"), ("number", 1)),
}
_NO_BASE64 = ("%%%%", "YQ", "YQ=", "a b c d ", "YQ==YQ==", "data:image/png;base64,YQ==", "é" * 4)
GOOD: Mapping[Task, dict[str, Any]] = {
    "text-generation": {"prompt": "a"},
    "text-to-text": {"text": "a"},
    "embeddings": {"text": "a"},
    "text-classification": {"text": "a"},
    "image-to-text": {"data": "YQ=="},
    "speech-to-text": {"data": "YQ=="},
}


def task_cases(task: Task, max_new_tokens: int = 1024, max_items: int = 64) -> list[BadRequest]:
    """JSON bodies that are no request of this task, whatever the model. The limits are those of the served spec."""
    return [*_whole(task, max_items), *_fields(task, max_new_tokens), *media_cases(task)]


def _whole(task: Task, max_items: int) -> Iterator[BadRequest]:
    good = GOOD[task]
    for name, value in (("array", [good]), ("string", "a"), ("null", None), ("number", 1)):
        yield value_case(f"no object: {name}", value, "wrong_type", "$")
    main = next(iter(good))
    if task != "text-generation":  # which has two main fields
        yield value_case("no field at all", {}, "missing_key", "$")
        yield value_case(f"{main} misspelt", {f"{main}x": good[main]}, "unknown_key|missing_key", None)
    yield value_case("unknown key", {**good, "no such key": 1}, "unknown_key", None)
    yield value_case("stream: number", {**good, "stream": 1}, "wrong_type", "$.stream")
    yield value_case("items: object", {"items": good}, "wrong_type", "$.items")
    yield value_case("items: none", {"items": []}, "out_of_range", "$.items")
    yield value_case("items: null", {"items": None}, "wrong_type", "$.items")
    yield value_case("items: too many", {"items": [good] * (max_items + 1)}, "out_of_range", "$.items")
    yield value_case("items beside a field", {**good, "items": [good]}, "unknown_key", f"$.{main}")
    yield value_case("items as a stream", {"items": [good], "stream": True}, "not_streamable", "$.stream")


def _fields(task: Task, max_new_tokens: int) -> Iterator[BadRequest]:
    info = msgspec.inspect.type_info(TASKS[task][0])
    assert isinstance(info, msgspec.inspect.StructType)
    for field in info.fields:
        kinds = field.type.types if isinstance(field.type, msgspec.inspect.UnionType) else (field.type,)
        at, good = f"$.{field.encode_name}", GOOD[task]
        if not any(isinstance(kind, msgspec.inspect.NoneType) for kind in kinds):
            yield value_case(f"{field.name}: null", {**good, field.encode_name: None}, "wrong_type", at)
        for kind in kinds:
            for name, value in (*_WRONG.get(type(kind), ()), *_out_of_range(kind)):
                code = "wrong_type" if name not in _RANGE else "out_of_range"
                yield value_case(f"{field.name}: {name}", {**good, field.encode_name: value}, code, at)
    if any(field.name == "max_new_tokens" for field in info.fields):
        for name, value in (("over the limit", max_new_tokens + 1), ("10^30", 10**30)):
            over = {**GOOD[task], "max_new_tokens": value}
            yield value_case(f"max_new_tokens: {name}", over, "out_of_range", "$.max_new_tokens")


_RANGE = frozenset({"too small", "too large"})


def _out_of_range(kind: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(kind, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        return
    if kind.ge is not None or kind.gt is not None:
        yield "too small", kind.ge - 1 if kind.ge is not None else kind.gt
    if kind.le is not None or kind.lt is not None:
        yield "too large", kind.le + 1 if kind.le is not None else kind.lt


def media_cases(task: Task) -> Iterator[BadRequest]:
    """`data` that is no base64, and base64 of what is no picture or no sound; none for other tasks."""
    if task not in ("image-to-text", "speech-to-text"):
        return
    for number, text in enumerate(_NO_BASE64):
        yield value_case(f"data: no base64 ({number})", {"data": text}, "invalid_base64", "$.data")
    yield value_case("url, which is off", {"url": "http://127.0.0.1/"}, "url_inputs_off", "$.url")
    wrong, codes = (pictures(), "not_an_image|image_too_large") if task == "image-to-text" else (
        sounds(), "not_wav|damaged_wav|unknown_wav|sound_too_long")  # fmt: skip
    for name, data in wrong.items():
        yield value_case(f"data: {name}", {"data": base64.b64encode(data).decode()}, codes, "$.data")


def pictures() -> dict[str, bytes]:
    """Bytes that no model may take for a picture."""
    good = _png(4, 4)
    return {
        "nothing": b"",
        "text": b"a picture of a cat",
        "a sound": _wav(b"\0\0" * 100),
        "a signature alone": good[:8],
        "a header alone": good[:33],
        "cut off": good[:50],
        "a wrong checksum": good[:40] + bytes([good[40] ^ 255]) + good[41:],
        "no pixels wide": _png(0, 4),
        "2^31 - 1 pixels wide and high": _png(2**31 - 1, 2**31 - 1),
        "a bomb of 900 million pixels": _png(30_000, 30_000),
        "JPEG of a header alone": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01",
        "GIF of a header alone": b"GIF89a\xff\xff\xff\xff\x00\x00\x00",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    }


def sounds() -> dict[str, bytes]:
    """Bytes that no model may take for a sound."""
    good = _wav(b"\0\0" * 100)
    return {
        "nothing": b"",
        "text": b"the sound of a cat",
        "a picture": _png(4, 4),
        "a signature alone": good[:12],
        "a header cut off": good[:30],
        "no samples": _wav(b""),
        "one byte of a sample": _wav(b"\0"),
        "no samples chunk": good[:36],
        "no channels": _wav(b"\0\0" * 100, channels=0),
        "65,535 channels": _wav(b"\0\0" * 100, channels=65_535),
        "rate of zero": _wav(b"\0\0" * 100, rate=0),
        "rate of 2^32 - 1": _wav(b"\0\0" * 100, rate=2**32 - 1),
        "a day in one sample a second": _wav(b"\0\0" * 86_400, rate=1),
        "3 bits": _wav(b"\0\0" * 100, bits=3),
        "zero bits": _wav(b"\0\0" * 100, bits=0),
        "an unknown format": _wav(b"\0\0" * 100, kind=0x55),
        "not numbers": _wav(struct.pack("<f", float("nan")) * 100, kind=3, bits=32),
        "Ogg": b"OggS" + bytes(60),
    }


def _png(width: int, height: int) -> bytes:
    """A PNG that says this size and holds sixteen grey pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(20), 0)) + chunk(b"IEND", b"")


def _wav(samples: bytes, *, kind: int = 1, channels: int = 1, rate: int = 16_000, bits: int = 16) -> bytes:
    form = struct.pack("<HHIIHH", kind, channels, rate, 0, 0, bits)
    chunks = struct.pack("<4sI", b"fmt ", len(form)) + form + struct.pack("<4sI", b"data", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks
