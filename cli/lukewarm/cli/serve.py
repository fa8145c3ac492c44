"""`lukewarm serve`: a bundle by our own server, or an artifact by its platform's real local server."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from lukewarm.cli.common import Finite, Project, json_option, open_project, print_json, progress, spec_option
from lukewarm.predictors.errors import RequestError, ServerError

LOCAL = "local"  # not a target: the bundle itself, without an artifact


@click.command()
@click.argument("target", default=LOCAL)
@spec_option
@click.option("--backend", help="Default: the spec's.")
@click.option("--precision", help="Default: the spec's.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0: a free one.")
@click.option("--request", "request_json", help="Send this JSON, print the answer, stop; '-' reads standard input.")
@click.option("--timeout", "timeout_s", type=Finite(min=1), help="Seconds until ready; default the target's.")
@json_option
def serve(target: str, spec_path: Path, request_json: str | None, as_json: bool, **options: Any) -> None:
    """Serve TARGET on this machine: `local` serves the bundle; any other builds its artifact and runs it.

    \b
    Example: lukewarm serve
             lukewarm serve bento --request '{"prompt": "The capital of France is"}'
    """
    from lukewarm.adapters import local
    from lukewarm.cli.build import chosen

    project = chosen(open_project(spec_path), options["backend"], options["precision"])
    project.set_environment()
    payload = _payload(request_json)
    say = progress(quiet=as_json)
    # the servers are in sessions of their own: a SIGTERM to this process must reach them through `stop`
    signal.signal(signal.SIGTERM, _interrupt)
    with contextlib.ExitStack() as stack, _start(project, target, options, say, stack) as running:
        if payload is None:
            _until_interrupted(running, target)
            return
        answer = running.request(payload)
        if as_json:
            print_json(answer.body)
        else:
            text = answer.body.get("text")
            click.echo(text if answer.ok and isinstance(text, str) else local.pretty(answer.body))
        if not answer.ok:
            error = answer.body.get("error", {})
            raise RequestError(answer.code or "failed", f"{target} refused: {error.get('message', '')}")


def _start(project: Project, target: str, options: dict[str, Any], say: Any, stack: contextlib.ExitStack) -> Any:
    from lukewarm.adapters import local
    from lukewarm.adapters.build import build
    from lukewarm.adapters.processes import free_port
    from lukewarm.adapters.targets import TARGETS

    host, port, timeout_s = options["host"], options["port"], options["timeout_s"]
    if target == LOCAL:
        say("starting our own server", None)
        where = (host, port or free_port(host))
        folder = project.artifact_dir(LOCAL)
        if not os.access(project.root, os.W_OK):  # mounted read-only, say: what is written is a link and the spec
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lukewarm-local-")))
        server = local.bundle_server(project.spec, project.root, project.bundle_dir(), folder, *where)
        return local.start_server(server, LOCAL, timeout_s=timeout_s)
    adapter = TARGETS.load(target)
    say(f"{target}: building", None)
    artifact = build(target, project.spec, project.root, project.bundle_dir(), project.artifact_dir(target))
    say(f"{target}: starting {adapter.runs}", None)
    return local.start(adapter, artifact.root, host=host, port=port, timeout_s=timeout_s)


def _until_interrupted(running: Any, target: str) -> None:
    call = running.server.wire.predict(b"{}")
    try:
        click.echo(f"{target}: ready after {running.ready_s:.2f} s, listening on {running.url}")
        click.echo(f"  {call.method} {running.url}{call.path}   log: {running.log}   stop: Ctrl-C")
        sys.stdout.flush()
        if code := running.wait():
            raise ServerError(f"{target} ended by itself with exit code {code}\n{running.last_log()}")
        click.echo(f"{target}: the server ended by itself", err=True)
    except KeyboardInterrupt:
        click.echo(f"{target}: stopping", err=True)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _payload(request_json: str | None) -> bytes | None:
    if request_json is None:
        return None
    return sys.stdin.buffer.read() if request_json == "-" else request_json.encode("utf-8", "surrogateescape")
