"""`lukewarm schema`: the JSON Schema of a spec file, for editors and checks."""

from __future__ import annotations

import click

from lukewarm.cli.common import print_json
from lukewarm.predictors.spec import json_schema


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For symmetry with the other verbs: the schema is always JSON.")
def schema(as_json: bool) -> None:
    """Print the JSON Schema (2020-12) of lukewarm.yaml.

    An editor with YAML support completes and checks the file after:
    `lukewarm schema > lukewarm.schema.json` and, as the file's first line,
    `# yaml-language-server: $schema=lukewarm.schema.json`.
    """
    print_json(json_schema())
