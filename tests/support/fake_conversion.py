"""A converter and an accuracy check without a model, for the machinery around them. FAKE_STAGE says where to misbehave.

`python fake_conversion.py SOURCE BUNDLES` runs one conversion with them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from lukewarm.convert import Converted, ConvertOptions, Job, Source, convert_model, table
from lukewarm.predictors.bundle import Bundle
from lukewarm.predictors.errors import LukewarmError
from lukewarm.predictors.spec import ModelSpec

PAYLOAD = b"weights" * 10_000


def at(stage: str) -> None:
    """Stop here for ever if this is the stage; say so, that the test can pull the plug."""
    if os.environ.get("FAKE_STAGE") == stage:
        print(f"at {stage}", flush=True)
        time.sleep(600)


class FakeConverter:
    packages: tuple[str, ...] = ()
    runs = 0

    def check(self, source: Source, precision: str) -> None:
        at("check")

    def convert(self, job: Job) -> Converted:
        type(self).runs += 1
        (job.scratch / "raw").write_bytes(b"scratch")
        (job.out / "tokenizer.json").write_text("{}", "utf-8")
        (job.out / "model").mkdir()
        with (job.out / "model" / "weights.bin").open("wb") as stream:
            stream.write(PAYLOAD[: len(PAYLOAD) // 2])
            stream.flush()
            at("write")
            stream.write(PAYLOAD[len(PAYLOAD) // 2 :])
        return Converted(options={"fake": True})


class FakeMeasure:
    ratio = 1.0

    def measure(self, job: Job, bundle: Bundle) -> dict[str, float]:
        at("measure")
        return {"perplexity_ratio": self.ratio}

    def over_budget(self, spec: ModelSpec, measured: Mapping[str, float]) -> list[str]:
        limit = spec.accuracy.max_perplexity_ratio or 1.5
        return [] if measured["perplexity_ratio"] <= limit else [f"ratio {measured['perplexity_ratio']}"]


converter = FakeConverter()
measure = FakeMeasure()


def install() -> None:
    """Put both into the table, for the backend ct2."""
    sys.modules["fake_conversion"] = sys.modules[__name__]
    table.CONVERTERS[("text-generation", "ct2")] = "fake_conversion"
    table.MEASURES["text-generation"] = "fake_conversion"


def main() -> None:
    install()
    source, bundles = map(Path, sys.argv[1:3])
    if limit := os.environ.get("FAKE_FILE_BYTES"):  # the disk is full: files end here
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    spec = ModelSpec(name="fake", source=str(source), backend="ct2", precision="int8")
    try:
        bundle = convert_model(spec, source, bundles, options=ConvertOptions(force="FAKE_FORCE" in os.environ))
    except LukewarmError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        sys.exit(error.exit_code)
    print(f"made {bundle.root.name} {FakeConverter.runs}", flush=True)


if __name__ == "__main__":
    main()
