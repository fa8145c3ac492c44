"""A source model: a Hugging Face directory, read and checked before anything heavy is imported."""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lukewarm.convert import bergamot, hub, refused, weights
from lukewarm.convert.weights import Tensor, read_json
from lukewarm.predictors.bundle import sha256
from lukewarm.predictors.errors import SourceError

# what a conversion may read; a README changes nothing
_READ = {".json", ".safetensors", ".txt", ".model", ".spm", ".jinja"}
_IGNORED = {"lukewarm-model.json"}
_DTYPE = re.compile(r"b?float\d+(_\w+)?|float|double|half|u?int\d+")  # as torch spells them
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length", "max_target_positions")


@dataclass(frozen=True)
class Source:
    """A checked source; `name` is what the spec says, `root` where it is."""

    name: str
    root: Path
    config: Mapping[str, Any]
    generation_config: Mapping[str, Any]
    digest: str  # sha256 over names and contents of the files a conversion reads

    @property
    def architecture(self) -> str:
        """The class name in config.json, such as LlamaForCausalLM."""
        return str(self.config["architectures"][0])

    @property
    def text_config(self) -> Mapping[str, Any]:
        """The language model's part of the configuration."""
        nested = (self.config.get(name) for name in ("text_config", "decoder"))  # the second where halves are joined
        return next((one for one in nested if isinstance(one, Mapping)), self.config)

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Weights by name, headers checked; a Bergamot student's are read by `bergamot.py`."""
        if self.architecture == bergamot.ARCHITECTURE:
            return {}
        return weights.tensors(weights.find(self.root))

    @property
    def weights_bytes(self) -> int:
        return sum(tensor.end - tensor.begin for tensor in self.tensors.values())

    @property
    def vocab_size(self) -> int | None:
        return self._count("vocab_size")

    @property
    def max_context_tokens(self) -> int | None:
        """Positions the model was made for; None if the architecture sets no limit."""
        return next((n for key in _CONTEXT_KEYS if (n := self._count(key)) is not None), None)

    def token_ids(self, key: str) -> list[int]:
        """`eos_token_id` and the like, from generation_config.json or else config.json; always a list."""
        for place in (self.generation_config, self.text_config, self.config):
            value = place.get(key)
            if value is not None:
                ids = value if isinstance(value, list) else [value]
                if not all(isinstance(i, int) and 0 <= i < 1 << 31 for i in ids):
                    raise SourceError(f"{self.root}: {key} is {value!r}, not a token's number")
                return ids
        return []

    def _count(self, key: str) -> int | None:
        value = self.text_config.get(key)
        return value if isinstance(value, int) and value > 0 else None


def open_source(name: str, base: Path, cache: Path) -> Source:
    """Find and check a source. `name` is a folder (relative to `base`) or a hub name. Raises SourceError.

    `cache` keeps the digests of unchanged files, so that a second look at 15 GB takes no time.
    """
    root = (base / Path(name).expanduser()).resolve()
    if root.exists():
        refused.check(root)
    if not root.is_dir():
        if not hub.is_hub_name(name) or name.startswith(("./", "../", "~")):
            raise SourceError(f"there is no folder {root}; set source to a Hugging Face model directory or org/model")
        root = hub.download(name)
    if not (root / "config.json").exists() and bergamot.is_student(root):
        return Source(name, root, bergamot.config(root), {}, digest(root, cache))
    config = read_json(root / "config.json")
    architectures = config.get("architectures")
    if not isinstance(architectures, list) or not architectures or not isinstance(architectures[0], str):
        raise SourceError(f'{root / "config.json"} names no architecture; add it: "architectures": ["..."]')
    _check_dtypes(config, root / "config.json")
    generation = root / "generation_config.json"
    generation_config = read_json(generation) if generation.exists() else {}
    weights.find(root)
    return Source(name, root, config, generation_config, digest(root, cache))


def _check_dtypes(config: Mapping[str, Any], path: Path) -> None:
    """Refuse what transformers would look for in torch and not find, with a word that names neither file nor key."""
    for part in (config, *(value for value in config.values() if isinstance(value, Mapping))):
        for key in ("dtype", "torch_dtype"):
            name = part.get(key)
            if isinstance(name, str) and not _DTYPE.fullmatch(name):
                raise SourceError(
                    f'{path}: "{key}": {json.dumps(name)} is no type that weights are stored in; take it out, '
                    'or name one, such as "float32" or "bfloat16"'
                )


def digest(root: Path, cache: Path) -> str:
    """sha256 over the names and contents of the files that a conversion reads."""
    memory = _Digests(cache / "digests.json")
    lines = [f"{path.relative_to(root).as_posix()} {memory.of(path)}" for path in _files(root)]
    memory.save()
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _files(root: Path) -> Iterator[Path]:
    read = _READ if (root / "config.json").exists() else _READ | {".bin"}  # a Bergamot student's weights
    inner = (path for name in ("config.json", "model.safetensors") for path in root.glob(f"*/{name}"))
    for path in sorted((*root.glob("*"), *inner)):
        if path.suffix in read and path.name not in _IGNORED and path.is_file():
            yield path


class _Digests:
    """File digests by path, size and time of change: a memory, safe to lose."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            known = json.loads(path.read_text("utf-8"))
            self._known: dict[str, Any] = known if isinstance(known, dict) else {}
        except (OSError, ValueError):
            self._known = {}
        self._used: dict[str, Any] = {}

    def of(self, path: Path) -> str:
        state = path.stat()
        stamp = [state.st_size, state.st_mtime_ns, state.st_ino, state.st_ctime_ns]
        key = str(path.resolve())
        old = self._known.get(key)
        if isinstance(old, list) and len(old) == 2 and old[0] == stamp and isinstance(old[1], str):
            self._used[key] = old
            return old[1]
        value = sha256(path)
        self._used[key] = [stamp, value]
        return value

    def save(self) -> None:
        if all(self._known.get(key) == value for key, value in self._used.items()):
            return
        kept = {key: value for key, value in self._known.items() if Path(key).exists()}
        temp = self._path.with_suffix(".tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temp.write_text(json.dumps(kept | self._used), "utf-8")
            temp.replace(self._path)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
