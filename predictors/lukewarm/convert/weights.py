"""Checks safetensors files without loading them: headers, sizes, shards, NaN. Pickle weights are never opened."""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lukewarm.predictors.errors import SourceError, UnsafeWeights

INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"-\d+-of-\d+\.safetensors$")
_MAX_HEADER_BYTES = 100_000_000  # the format's own limit
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64, "C64": 64, "F4": 4,
}  # fmt: skip
# dtype -> (unsigned word, mask without the sign, largest value that is not NaN)
_NAN = {
    "F16": ("<u2", 0x7FFF, 0x7C00),
    "BF16": ("<u2", 0x7FFF, 0x7F80),
    "F32": ("<u4", 0x7FFFFFFF, 0x7F800000),
    "F64": ("<u8", 0x7FFFFFFFFFFFFFFF, 0x7FF0000000000000),
}


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file; `begin` and `end` are bytes from the start of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    begin: int
    end: int


def find(root: Path) -> list[Path]:
    """The model's safetensors files. Raises UnsafeWeights if there are only pickles, SourceError if none."""
    if (root / INDEX).is_file():
        return _shards(root)
    if (root / "model.safetensors").is_file():
        return [root / "model.safetensors"]
    single = sorted(root.glob("*.safetensors"))
    if len(single) == 1:
        raise SourceError(f"{single[0]} should be named model.safetensors; rename it")
    if shards := [path.name for path in single if _SHARD.search(path.name)]:
        raise SourceError(
            f"{root} holds parts of a model ({', '.join(shards[:2])}) and no {INDEX}, which says what is in which; "
            "download it beside them"
        )
    pickles = [p.name for suffix in ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt") for p in sorted(root.glob(suffix))]
    if pickles:
        raise UnsafeWeights(
            f"{root} holds only pickle weights ({', '.join(pickles[:3])}), which can run code when loaded: refused; "
            "get the model's safetensors, or, where you trust whoever made it, write them: "
            f"AutoModel...from_pretrained({str(root)!r}).save_pretrained(NEW_FOLDER), in Python with transformers, "
            "with the class that the task needs; copy the tokenizer's files beside them"
        )
    raise SourceError(f"{root} has no model.safetensors; it is needed beside config.json")


def tensors(files: list[Path]) -> dict[str, Tensor]:
    """All tensors of the files, by name; every header checked against its file. Raises SourceError naming the file."""
    found: dict[str, Tensor] = {}
    for file in files:
        for tensor in _header(file):
            if tensor.name in found:
                raise SourceError(f"{tensor.name} stands both in {found[tensor.name].file.name} and in {file}")
            found[tensor.name] = tensor
    if not found:
        raise SourceError(f"{files[0]} holds no tensors")
    return found


def check_no_nan(found: Mapping[str, Tensor]) -> None:
    """Raise SourceError naming the first tensor that holds a NaN. Reads every byte once."""
    import numpy as np

    for file in sorted({tensor.file for tensor in found.values()}):
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
            for tensor in (t for t in found.values() if t.file == file and t.dtype in _NAN):
                word, mask, limit = _NAN[tensor.dtype]
                for begin in range(tensor.begin, tensor.end, 1 << 24):
                    part = np.frombuffer(view[begin : min(begin + (1 << 24), tensor.end)], word)
                    if bool(((part & mask) > limit).any()):
                        raise SourceError(f"{file}: {tensor.name} holds NaN; the weights are damaged")


def _shards(root: Path) -> list[Path]:
    index = read_json(root / INDEX)
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise SourceError(f"{root / INDEX} has no weight_map")
    names = {str(name) for name in weight_map.values()}
    if outside := next((n for n in sorted(names) if Path(n).name != n), None):
        raise SourceError(f"{root / INDEX} names a file outside the folder: {outside}")
    files = [root / name for name in sorted(names)]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise SourceError(f"{root} lacks {len(missing)} of {len(files)} weight files: {', '.join(missing[:3])}")
    found = tensors(files)
    for name, file_name in weight_map.items():
        if name not in found or found[name].file.name != file_name:
            raise SourceError(f"{root / file_name} does not hold {name}, which {INDEX} says it does")
    return files


def _header(file: Path) -> Iterator[Tensor]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > _MAX_HEADER_BYTES or 8 + length > size:
            raise SourceError(f"{file} is not a whole safetensors file ({size} bytes); download it again")
        raw = stream.read(length)
    try:
        header = json.loads(raw)
        entries = sorted(
            ((name, *_entry(value)) for name, value in header.items() if name != "__metadata__"), key=lambda e: e[3]
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SourceError(f"{file} has a damaged header: {error}; download it again") from error
    position = 0
    for name, dtype, shape, begin, end in entries:
        bits = _BITS.get(dtype)
        if bits is None:
            raise SourceError(f"{file}: {name} has the unknown type {dtype}")
        count = 1
        for dimension in shape:
            count *= dimension
        if begin != position or (end - begin) * 8 != count * bits:
            raise SourceError(f"{file}: the bytes of {name} overlap, leave a gap or do not fit its shape")
        position = end
        yield Tensor(name, dtype, shape, file, 8 + length + begin, 8 + length + end)
    if 8 + length + position != size:
        raise SourceError(
            f"{file} has {size} bytes, its header says {8 + length + position}: cut off or damaged; download it again"
        )


def _entry(value: dict[str, Any]) -> tuple[str, tuple[int, ...], int, int]:
    begin, end = value["data_offsets"]
    shape = tuple(value["shape"])
    for number in (*shape, begin, end):
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise ValueError(f"{number!r} is not a size")
    return str(value["dtype"]), shape, begin, end


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of the source. Raises SourceError."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise SourceError(f"{path} is missing") from error
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise SourceError(f"{path} holds a {type(value).__name__}, not a JSON object")
    return value
