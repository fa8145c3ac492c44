"""A bundle appears whole or not at all: kill -9 anywhere, full disk, two runs at once, damage, skip."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest

from lukewarm.convert import ConvertOptions, convert_model
from lukewarm.convert.storage import explained, staged
from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.errors import AccuracyError, SpecError, StorageError, UnsupportedError
from lukewarm.predictors.spec import Accuracy, Generation, ModelSpec
from support import fake_conversion
from support.sources import write_source

SCRIPT = Path(str(fake_conversion.__file__))
NAME = "fake-ct2-int8"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path / "model")


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    return tmp_path / ".lukewarm" / "bundles"


def start(source: Path, bundles: Path, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), str(source), str(bundles)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def run(source: Path, bundles: Path, **environment: str) -> tuple[int, str]:
    return finish(start(source, bundles, **environment))


def leftovers(bundles: Path) -> list[str]:
    return sorted(path.name for path in bundles.iterdir() if not path.name.endswith(".lock") and path.name != NAME)


def kill_at(stage: str, source: Path, bundles: Path, **environment: str) -> None:
    process = start(source, bundles, FAKE_STAGE=stage, **environment)
    assert process.stdout is not None
    assert process.stdout.readline() == f"at {stage}\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


@pytest.mark.parametrize("stage", ["check", "write", "measure"])
def test_after_kill_9_there_is_no_bundle_and_the_next_run_makes_it(source: Path, bundles: Path, stage: str) -> None:
    kill_at(stage, source, bundles)
    assert not (bundles / NAME).exists()
    assert run(source, bundles) == (0, f"made {NAME} 1\n")
    Bundle.open(bundles / NAME, verify=True)
    assert leftovers(bundles) == []


@pytest.mark.parametrize("stage", ["write", "measure"])
def test_kill_9_while_converting_anew_keeps_the_old_bundle(source: Path, bundles: Path, stage: str) -> None:
    run(source, bundles)
    kill_at(stage, source, bundles, FAKE_FORCE="1")
    Bundle.open(bundles / NAME, verify=True)
    assert run(source, bundles) == (0, f"made {NAME} 0\n")
    assert leftovers(bundles) == []


def test_kill_9_between_the_two_renames_is_repaired(source: Path, bundles: Path) -> None:
    run(source, bundles)
    (bundles / NAME).rename(bundles / f".{NAME}.old")
    (bundles / f".{NAME}.tmp").mkdir()
    assert run(source, bundles) == (0, f"made {NAME} 0\n")
    assert leftovers(bundles) == []


def test_a_full_disk_is_one_message_and_leaves_nothing(source: Path, bundles: Path) -> None:
    code, output = run(source, bundles, FAKE_FILE_BYTES="50000")
    assert code == StorageError.exit_code
    assert output.startswith("StorageError: cannot write below")
    assert leftovers(bundles) == []
    assert not (bundles / NAME).exists()


def test_a_full_disk_while_converting_anew_keeps_the_old_bundle(source: Path, bundles: Path) -> None:
    run(source, bundles)
    code, _ = run(source, bundles, FAKE_FILE_BYTES="50000", FAKE_FORCE="1")
    assert code == StorageError.exit_code
    Bundle.open(bundles / NAME, verify=True)


def test_two_runs_at_once_do_the_work_once(source: Path, bundles: Path) -> None:
    processes = [start(source, bundles) for _ in range(3)]
    results = sorted(finish(process) for process in processes)
    assert results == [(0, f"made {NAME} 0\n"), (0, f"made {NAME} 0\n"), (0, f"made {NAME} 1\n")]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("I/O error: No space left on device (os error 28)"),  # safetensors, ONNX Runtime
        OSError("Not enough free space to write 176160768 bytes after offset 128"),  # numpy, these three
        OSError("problem writing element 75776 to file"),
        OSError("4096 requested and 1024 written"),
    ],
    ids=str,
)
def test_a_library_that_wraps_a_full_disk_is_understood(tmp_path: Path, error: Exception) -> None:
    with (
        pytest.raises(StorageError, match=r"cannot write below .*: No space left"),
        explained(tmp_path / "x"),
    ):
        raise error


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="other"), explained(tmp_path / "x"):
        raise ValueError("other")


def test_a_failing_block_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "bundle"

    def interrupted() -> None:
        with staged(target) as temp:
            (temp / "file").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


class TestInProcess:
    """The same machinery called directly, with what it measures under the test's control."""

    @pytest.fixture(autouse=True)
    def _fakes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from lukewarm.convert import table

        monkeypatch.setattr(table, "CONVERTERS", dict(table.CONVERTERS))
        monkeypatch.setattr(table, "MEASURES", dict(table.MEASURES))
        monkeypatch.setattr(fake_conversion.FakeConverter, "runs", 0)
        monkeypatch.setattr(fake_conversion.FakeMeasure, "ratio", 1.0)
        fake_conversion.install()

    def spec(self, source: Path, **fields: object) -> ModelSpec:
        values = {"name": "fake", "source": str(source), "backend": "ct2", "precision": "int8", **fields}
        return msgspec.convert(values, ModelSpec)

    def runs(self) -> int:
        return fake_conversion.FakeConverter.runs

    def test_equal_input_is_skipped_and_any_change_is_not(self, source: Path, bundles: Path) -> None:
        spec = self.spec(source)
        first = convert_model(spec, source, bundles)
        assert convert_model(spec, source, bundles).manifest == first.manifest
        assert self.runs() == 1
        convert_model(self.spec(source, generation={"top_k": 3}), source, bundles)
        assert self.runs() == 2
        write_source(source, max_position_embeddings=32)
        assert convert_model(spec, source, bundles).manifest.max_context_tokens == 32
        assert self.runs() == 3
        convert_model(spec, source, bundles, options=ConvertOptions(force=True))
        assert self.runs() == 4

    def test_a_bit_flip_in_the_bundle_is_repaired(self, source: Path, bundles: Path) -> None:
        spec = self.spec(source)
        weights = convert_model(spec, source, bundles).root / "model" / "weights.bin"
        data = bytearray(weights.read_bytes())
        data[1000] ^= 1
        weights.write_bytes(data)
        convert_model(spec, source, bundles)
        assert weights.read_bytes() == fake_conversion.PAYLOAD
        assert self.runs() == 2

    def test_over_budget_there_is_no_bundle_unless_wanted(
        self, source: Path, bundles: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fake_conversion.FakeMeasure, "ratio", 2.0)
        spec = self.spec(source)
        with pytest.raises(AccuracyError, match=r"ratio 2\.0.*--keep-over-budget") as caught:
            convert_model(spec, source, bundles)
        assert caught.value.measured == {"perplexity_ratio": 2.0}
        assert leftovers(bundles) == []
        kept = convert_model(spec, source, bundles, options=ConvertOptions(keep_over_budget=True))
        assert kept.manifest.accuracy == {"perplexity_ratio": 2.0}
        # a later run that does not want it says so again, and a wider budget finds it good
        with pytest.raises(AccuracyError):
            convert_model(spec, source, bundles)
        wide = msgspec.structs.replace(spec, accuracy=Accuracy(max_perplexity_ratio=3.0))
        before = self.runs()
        convert_model(wide, source, bundles)
        assert self.runs() == before

    def test_a_model_that_does_not_run_or_is_another_at_fp32_names_other_backends(
        self, source: Path, bundles: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fake_conversion.FakeMeasure, "ratio", 2.0)
        with pytest.raises(AccuracyError, match=r"lost too much: .*; try backend .*hf.*, raise the budget"):
            convert_model(self.spec(source, precision="fp32"), source, bundles)

        def broken(*_: object) -> None:
            raise ValueError("buffer to copy is of size 128")

        monkeypatch.setattr(fake_conversion.FakeMeasure, "measure", broken)
        with pytest.raises(UnsupportedError, match=r"does not run as converted for ct2 \(ValueError: buffer.*; try "):
            convert_model(self.spec(source), source, bundles)
        assert [path for path in bundles.iterdir() if path.is_dir()] == []

    def test_an_unmeasured_bundle_is_made_again_when_accuracy_is_asked_for(self, source: Path, bundles: Path) -> None:
        spec = self.spec(source)
        silent = convert_model(spec, source, bundles, options=ConvertOptions(check_accuracy=False))
        assert silent.manifest.accuracy == {}
        assert convert_model(spec, source, bundles).manifest.accuracy == {"perplexity_ratio": 1.0}

    def test_files_of_a_bundle_can_be_read_by_anyone(self, source: Path, bundles: Path) -> None:
        bundle = convert_model(self.spec(source), source, bundles)
        for file in bundle.manifest.files:
            assert (bundle.root / file.path).stat().st_mode & 0o444 == 0o444
        assert "model/weights.bin" in [file.path for file in bundle.manifest.files]
        assert not (bundle.root / ".scratch").exists()

    def test_refusals_name_what_there_is(self, source: Path, bundles: Path) -> None:
        with pytest.raises(UnsupportedError, match="no precision 'int3'"):
            convert_model(self.spec(source, precision="int3"), source, bundles)
        with pytest.raises(SpecError, match="no source"):
            convert_model(ModelSpec(name="x", backend="ct2", precision="int8"), source, bundles)
        with pytest.raises(SpecError, match=r"accuracy\.texts"):
            convert_model(self.spec(source, accuracy={"texts": "absent.txt"}), source, bundles)

    def test_echo_and_custom_need_no_source(self, source: Path, bundles: Path) -> None:
        bundle = convert_model(ModelSpec(name="e", backend="echo", precision="none"), source, bundles)
        assert bundle.manifest.backend == "echo"
        own = ModelSpec(name="c", predictor="my_module:Mine", task="custom")
        assert convert_model(own, source, bundles).manifest.predictor == "my_module:Mine"

    def test_sampling_defaults_come_from_the_model(self, source: Path, bundles: Path) -> None:
        (source / "generation_config.json").write_text(
            '{"do_sample": true, "temperature": 0.6, "top_p": 0.9, "eos_token_id": [2, 3], "max_length": 20}'
        )
        manifest = convert_model(self.spec(source, generation={"top_p": 0.5}), source, bundles).manifest
        generation = manifest.generation
        assert (generation.temperature, generation.top_k, generation.top_p) == (0.6, 50, 0.5)
        assert generation.max_new_tokens is None
        assert manifest.eos_token_ids == [2, 3]
        (source / "generation_config.json").write_text('{"temperature": 0.6, "top_p": 0.9}')
        assert convert_model(self.spec(source), source, bundles).manifest.generation.temperature is None


def test_the_lock_of_a_killed_run_does_not_last(source: Path, bundles: Path) -> None:
    kill_at("write", source, bundles)
    begin = time.monotonic()
    run(source, bundles)
    assert time.monotonic() - begin < 30


def test_a_read_only_project_is_as_good_if_its_bundle_is_current(
    source: Path, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ModelSpec(name="e", backend="echo", precision="none")
    made = convert_model(spec, source, bundles)

    def read_only(target: Path) -> NoReturn:
        raise StorageError(f"cannot write below {target.parent}: Read-only file system")

    monkeypatch.setattr("lukewarm.convert.api.locked", read_only)
    said: list[str] = []
    again = convert_model(spec, source, bundles, progress=lambda message, _done: said.append(message))
    assert (again.digest, said) == (made.digest, ["e-echo-none: unchanged"])
    with pytest.raises(StorageError):
        convert_model(spec, source, bundles, options=ConvertOptions(force=True))
    with pytest.raises(StorageError):
        convert_model(msgspec.structs.replace(spec, generation=Generation(top_k=7)), source, bundles)
