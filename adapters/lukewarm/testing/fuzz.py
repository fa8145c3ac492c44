"""schemathesis against a target's running server: no 5xx, no answer outside its schema, whatever the request.

Where the server publishes no OpenAPI document, or one that does not know our requests, one is made: the target's own
predict route around the engine's native request.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lukewarm.adapters.local import Running
from lukewarm.adapters.wire import Call
from lukewarm.predictors.errors import ServerError
from lukewarm.serving.engine import Engine

PUBLISHED = "/openapi.json"
NATIVE = "/predict"
MARK = "@request@"
# tensors: shape times data, and names by task, are said by no JSON Schema, so data that fit it are refused
TENSORS = '[[operations]]\ninclude-path-regex = "/infer$"\nchecks.positive_data_acceptance.enabled = false\n'
LIMIT_S = 600
PHASES = ("examples", "coverage", "fuzzing", "stateful")


@dataclass(frozen=True, kw_only=True)
class Search:
    """How to look: examples for each operation, phases, checks left out, and checks whose failures are known."""

    examples: int
    phases: Collection[str] = PHASES
    without: Collection[str] = ()
    expected: Collection[str] = ()


@dataclass(frozen=True)
class Fuzzed:
    """What one run of schemathesis did."""

    operations: int
    cases: int
    found: str  # its report of what it found; empty if nothing but what was expected
    held: frozenset[str]  # checks that were expected to fail, and did not


def document(server: Running, root: Path) -> dict[str, Any]:
    """The OpenAPI document to test a server by: its own where it knows our predict route, else one made around it.

    `root` is the artifact's folder of bundle and spec, whose limits are in the schemas.
    """
    reply = server.send(Call(method="GET", path=PUBLISHED))
    if reply.status == 200:
        published: dict[str, Any] = json.loads(reply.body)
        if {NATIVE, server.server.wire.predict(b"{}").path} & set(published.get("paths", {})):
            return published
    return around(server, root)


def around(server: Running, root: Path) -> dict[str, Any]:
    """A document of the target's predict route: its envelope around our native request, any answer."""
    from lukewarm.serving import openapi, routes

    whole = openapi.document(engine := Engine.open(root), routes.first_endpoints(engine))
    native = whole["paths"][NATIVE]["post"]["requestBody"]["content"]["application/json"]["schema"]
    call = server.server.wire.predict(json.dumps(MARK).encode())
    schema = _wrapped(json.loads(call.body or b"null"), native)
    operation = {
        "operationId": "predict",
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"default": {"description": "Whatever the platform answers, if it is no 5xx"}},
    }
    return {**whole, "paths": {call.path: {call.method.lower(): operation}}}


def _wrapped(sample: Any, native: dict[str, Any]) -> dict[str, Any]:
    """The schema of what an envelope made of MARK: objects of required keys down to the native request."""
    if sample == MARK:
        return native
    if not isinstance(sample, dict):
        raise ServerError(f"cannot tell the schema of an envelope like {sample!r:.80}")
    properties = {key: _wrapped(value, native) for key, value in sample.items()}
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def only(whole: dict[str, Any], keep: Callable[[str], bool]) -> dict[str, Any]:
    """The document with the paths that are to be kept."""
    return {**whole, "paths": {path: item for path, item in whole["paths"].items() if keep(path)}}


def own(server: Running) -> Callable[[str], bool]:
    """Whether a path of a document is the target's predict route; placeholders in it stand for anything."""
    parts = server.server.wire.predict(b"{}").path.split("/")

    def same(template: str) -> bool:
        names = template.split("/")
        return len(names) == len(parts) and all(n == p or n.startswith("{") for n, p in zip(names, parts, strict=True))

    return same


def fuzz(server: Running, whole: dict[str, Any], folder: Path, search: Search) -> Fuzzed:
    """Run schemathesis on the document's operations. Raises ServerError if it is not installed or could not run."""
    if importlib.util.find_spec("schemathesis") is None:
        raise ServerError("schemathesis is not installed; run: pip install schemathesis")
    described, config, report = folder / "openapi.json", folder / "schemathesis.toml", folder / "fuzzed.json"
    described.write_text(json.dumps(whole))
    config.write_text(TENSORS)
    start = "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())"
    options = ["--url", server.url, "--max-examples", str(search.examples), "--seed", "1"]
    options += ["--phases", ",".join(search.phases)]
    if search.without:
        options += ["--exclude-checks", ",".join(sorted(search.without))]
    if search.expected:  # a failure that is known must not end the search for others
        options += ["--continue-on-failure", "--report-json-path", str(report)]
    done = subprocess.run(
        [sys.executable, "-c", start, "--config-file", str(config), "run", str(described), *options],
        capture_output=True, text=True, timeout=LIMIT_S, cwd=folder,
    )  # fmt: skip
    selected = re.search(r"Operations: +(\d+) selected", done.stdout)
    cases = re.search(r"(\d+) generated", done.stdout)
    if selected is None or done.returncode not in (0, 1):
        raise ServerError(f"schemathesis ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
    failed = failed_checks(report) if search.expected else frozenset()
    known = done.returncode == 0 or (failed and failed <= set(search.expected))
    return Fuzzed(
        operations=int(selected.group(1)),
        cases=int(cases.group(1)) if cases else 0,
        found="" if known else done.stdout[-6000:],
        held=frozenset(search.expected) - failed,
    )


def failed_checks(report: Path) -> frozenset[str]:
    """The checks behind the kinds of failures in a JSON report; an error in the run counts as a check of that name."""
    importlib.import_module("schemathesis.openapi.checks")  # it defines kinds
    from schemathesis.core import failures

    def kinds(base: Any) -> Iterator[Any]:
        for kind in base.__subclasses__():
            yield kind
            yield from kinds(kind)

    of = {kind.__name__: tuple(kind.checks) for kind in kinds(failures.Failure)}
    told = json.loads(report.read_bytes())
    names = {name for failure in told["failures"] for name in of.get(failure["type"]) or (failure["type"],)}
    return frozenset(names | {"error" for _ in told["errors"]})
