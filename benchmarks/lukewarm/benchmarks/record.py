"""Records: one measured case each, as JSON Lines. Readers skip a torn last line and refuse a newer schema."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from lukewarm.benchmarks.stats import Figure
from lukewarm.predictors.errors import SpecError

SCHEMA = 1
Kind = Literal["measured", "modelled", "quoted"]
Status = Literal["ok", "failed", "skipped"]
T = TypeVar("T", bound=msgspec.Struct)


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Case(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was measured. `backend` is `transformers.pipeline` for the baseline."""

    backend: str
    precision: str
    model: str
    task: str
    variant: str = ""  # runtime switches that differ from the defaults

    @property
    def label(self) -> str:
        return " ".join(part for part in (self.backend, self.precision, self.variant) if part and part != "none")


class Settings(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Under which conditions. `threads` 0 is every processor the process may use."""

    rounds: int = 7
    prompt_tokens: int = 32
    new_tokens: int = 32
    batches: tuple[int, ...] = (1, 8)
    warm_runs: int = 3  # per process and batch size, as far as the time allows
    threads: int = 0
    page_cache: Literal["warm", "dropped"] = "warm"
    core: int | None = None  # pinned to this processor
    limit_s: float = 600.0  # of one process
    warm_limit_s: float = 30.0  # of one warm run: a slower one is not measured


class Phases(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cold start, in seconds. Per process the four parts add up to `total`; medians need not.

    interpreter: spawn to the first statement. imports: inside import statements, wherever they ran. load: the rest of
    setup. first: the first prediction (one token). cpu: processor time of all threads from spawn to there.
    """

    interpreter: Figure
    imports: Figure
    load: Figure
    first: Figure
    total: Figure
    cpu: Figure


class Warm(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Latency of one whole request (or batch) in a warm process."""

    batch: int
    latency: Figure  # s
    tokens_per_s: float | None = None  # new tokens of all items, from the median


class Installed(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bytes on disk of the packages that a run time needs, without pip and setuptools."""

    bytes: int
    packages: dict[str, int]


class Machine(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    cpu: str
    flags: list[str]  # the vector instructions that decide which kernels run
    cores: int  # that this process may use
    memory_bytes: int
    kernel: str
    python: str
    load_1min: float | None = None  # when the run began: a busy machine measures worse
    gpu: str = ""


class Price(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """USD, from quoted prices and billing rules; low and high are the bounds of what is not known."""

    provider: str
    hardware: str
    warm_usd: tuple[float, float]
    cold_usd: tuple[float, float]
    idle_usd: tuple[float, float]
    month_usd: tuple[float, float] | None = None
    requests_per_month: float | None = None
    cold_fraction: tuple[float, float] | None = None
    prices_as_of: str = ""
    note: str = ""


class Record(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One case. What was not measured is None or absent, and `not_measured` says why."""

    schema: int
    kind: Kind
    suite: str
    key: str  # equal key: the same measurement, not to be repeated
    case: Case
    date: str  # UTC, ISO 8601
    status: Status = "ok"
    reason: str = ""
    settings: Settings = Settings()
    phases: Phases | None = None
    warm: list[Warm] = []
    figures: dict[str, Figure] = {}  # further quantities of a suite
    peak_memory_bytes: int | None = None  # resident, mapped files included, over the whole run
    start_memory_bytes: int | None = None  # the same, up to the first prediction
    bundle_bytes: int | None = None
    installed: Installed | None = None  # what pip installs for this run time
    image: Installed | None = None  # what an image of ours holds of it
    used: Installed | None = None  # the part of it whose modules the process imported
    accuracy: dict[str, float] = {}
    accuracy_from: str = ""  # conversion | bench
    text: str = ""  # what it answered, greedy
    not_measured: dict[str, str] = {}
    failures: list[str] = []  # of single processes, where others succeeded
    bundle_digest: str = ""
    versions: dict[str, str] = {}
    machine: Machine | None = None
    price: Price | None = None  # kind: modelled; `key` is that of the measured record


def digest(*parts: object) -> str:
    """A short stable key of plain data and Structs."""
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted", enc_hook=str)).hexdigest()[:16]


def read(path: Path) -> list[Record]:
    """All records of a file. A torn last line is left out; any other bad line raises SpecError with its number."""
    return read_lines(path, Record)


def read_lines(path: Path, kind: type[T]) -> list[T]:
    """The lines of a JSON Lines file; a file that is not there holds none."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", str(path)) from error
    lines = data.split(b"\n")
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            _check_schema(line)
            found.append(msgspec.json.decode(line, type=kind))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            # only a line without its newline can be one whose writer was killed
            if number == len(lines):
                break
            raise SpecError(f"not a {kind.__name__}: {error}; delete the line", f"{path}:{number}") from error
        except _NewerSchema as error:
            raise SpecError(str(error), f"{path}:{number}") from error
    return found


class _NewerSchema(Exception):
    pass


class _Head(msgspec.Struct):
    schema: int = SCHEMA


def _check_schema(line: bytes) -> None:
    schema = msgspec.json.decode(line, type=_Head).schema
    if schema != SCHEMA:
        raise _NewerSchema(f"record schema {schema}, this lukewarm reads {SCHEMA}; upgrade lukewarm or measure again")


def append(path: Path, record: msgspec.Struct) -> None:
    """Add one line in one write; what an interrupted writer left behind is cut off first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as stream:
        stream.seek(0)
        data = stream.read()
        last = data.rpartition(b"\n")[2]
        if last and _is_json(last):
            stream.write(b"\n")
        elif last:
            stream.truncate(len(data) - len(last))
        stream.write(msgspec.json.encode(record) + b"\n")


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def write(path: Path, records: Iterable[Record]) -> None:
    """Replace a file by these records, at once: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            os.fchmod(handle, 0o644)
            for record in records:
                stream.write(msgspec.json.encode(record) + b"\n")
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
