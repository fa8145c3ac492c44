"""`lukewarm init`: a commented spec to start from."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click

from lukewarm.predictors import specfile
from lukewarm.predictors.errors import SpecError

TEMPLATE = """\
# What `lukewarm` packages. All keys and their limits: lukewarm schema
name: {name}
source: {source}  # a local Hugging Face directory, or a hub name: org/model[@revision]
task: {task}
backend: {backend}  # hf, ort, ct2, bnb, echo
precision: {precision}  # lukewarm convert --help lists them per backend

# Over budget is an error (exit code 7) and leaves no bundle.
accuracy:
  max_perplexity_ratio: 1.05  # 1.05 allows 5 % over the source in fp32

resources:
  cpu: 2
  memory_gb: 4
  # gpu: L4

scaling:
  min_instances: 0  # 0 scales to zero: cheap, and the first request after idle is a cold start
  max_instances: 3
  idle_timeout_s: 60
  concurrency: 1

limits:
  max_new_tokens: 512
  queue: 32
  request_timeout_s: 120

# secrets: [HF_TOKEN]  # names only; values are set at the provider
# targets:             # raw options, passed through to one platform
#   modal: {{region: us-east}}
"""


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default=Path("."))
@click.option("--source", default="path/to/model", show_default=True, help="The Hugging Face directory or hub name.")
@click.option("--name", help="Name of the model; default: the source's last part.")
@click.option("--task", default="text-generation", show_default=True)
@click.option("--backend", default="ort", show_default=True)
@click.option("--precision", default="int8", show_default=True)
@click.option("--force", is_flag=True, help="Replace an existing lukewarm.yaml.")
def init(directory: Path, source: str, name: str | None, force: bool, **values: str) -> None:
    """Write DIRECTORY/lukewarm.yaml with comments."""
    path = directory / "lukewarm.yaml"
    if path.exists() and not force:
        raise SpecError("exists already; edit it, or run: lukewarm init --force", str(path))
    name = name or _name(source)
    text = TEMPLATE.format(name=_scalar(name), source=_scalar(source), **{k: _scalar(v) for k, v in values.items()})
    if values["task"] != "text-generation":
        text = re.sub(r"# Over budget.*?\n\n", "", text, flags=re.DOTALL)
    value, lines = specfile.parse(path, text)
    specfile.decode(value, str(path), lines)  # a wrong option fails here, before anything is written
    directory.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, "utf-8")
    temporary.replace(path)
    click.echo(f"wrote {path}; next: lukewarm convert -f {path}")


def _name(source: str) -> str:
    last = source.rstrip("/").rsplit("/", 1)[-1].split("@", 1)[0].lower()
    return re.sub(r"[^a-z0-9]+", "-", last).strip("-")[:63].strip("-") or "model"


def _scalar(value: str) -> str:
    """A YAML scalar that reads back as this very string."""
    import yaml

    return (
        yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True).removesuffix("\n...\n").strip()
    )
