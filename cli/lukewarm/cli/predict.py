"""`lukewarm predict`: one request, in this process, through the same engine as every server."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from lukewarm.cli.common import Finite, json_option, open_project, print_json, spec_option
from lukewarm.predictors.errors import RequestError

_INPUT_KEY = {
    "text-generation": "prompt", "text-to-text": "text", "embeddings": "text", "text-classification": "text",
}  # fmt: skip


@click.command()
@click.argument("text", required=False)
@spec_option
@click.option("--bundle", type=click.Path(path_type=Path), help="A bundle's folder, instead of the spec's.")
@click.option("--backend", help="Default: the spec's.")
@click.option("--precision", help="Default: the spec's.")
@click.option("--request", "request_json", help="The whole request as JSON; '-' reads standard input.")
@click.option("--max-new-tokens", type=click.IntRange(min=1))
@click.option("--temperature", type=Finite(min=0))
@click.option("--top-k", type=click.IntRange(min=0))
@click.option("--top-p", type=Finite(min=0, max=1, min_open=True))
@click.option("--repetition-penalty", type=Finite(min=0, min_open=True))
@click.option("--stop", multiple=True, help="May be given several times.")
@click.option("--seed", type=click.IntRange(min=0))
@click.option("--chat", is_flag=True, help="Send TEXT as a user's message through the model's chat template.")
@click.option("--stream", is_flag=True, help="Print the text as it comes.")
@click.option("--threads", type=click.IntRange(min=0), default=0, help="0: all processors of this process.")
@click.option("--device", default="auto", show_default=True)
@json_option
def predict(text: str | None, spec_path: Path, as_json: bool, stream: bool, **options: Any) -> None:
    """Answer TEXT (or --request) from a bundle and print the result. For a model of images or sounds TEXT is a file.

    Example: lukewarm predict "The capital of France is" --max-new-tokens 8
    """
    from lukewarm.cli.build import chosen
    from lukewarm.predictors.bundle import Bundle
    from lukewarm.predictors.predictor import Runtime
    from lukewarm.serving.engine import Engine

    # what failed is said once, as the error; a server's log has the traceback too
    logging.getLogger("lukewarm.worker").addHandler(logging.NullHandler())
    runtime = Runtime(threads=options["threads"], device=options["device"])
    if options["bundle"]:
        engine = Engine.open(options["bundle"], runtime)
    else:
        project = chosen(open_project(spec_path), options["backend"], options["precision"])
        project.set_environment()
        bundle = Bundle.open(project.bundle_dir())
        engine = Engine(bundle, project.spec, runtime)
    payload = _payload(text, options, engine.bundle.manifest.task)
    engine.start()
    try:
        if stream:
            for event in engine.stream(payload):
                if as_json:
                    click.echo(msgspec.json.encode(event).decode())
                else:
                    sys.stdout.write(event.get("delta", ""))
                    sys.stdout.flush()
            if not as_json:
                click.echo()
            return
        answer = engine.predict(payload)
    finally:
        engine.close()
    if as_json:
        print_json(answer)
    else:
        click.echo(answer["text"] if "text" in answer else msgspec.json.encode(answer).decode())


def _payload(text: str | None, options: dict[str, Any], task: str) -> dict[str, Any] | bytes:
    request = options["request_json"]
    if (text is None) == (request is None):
        raise click.UsageError("give TEXT or --request, and not both")
    if request is not None:
        return sys.stdin.buffer.read() if request == "-" else str(request).encode("utf-8", "surrogateescape")
    assert text is not None
    if task in ("image-to-text", "speech-to-text"):
        chosen = {"max_new_tokens": options["max_new_tokens"]}
        return {"data": _file(text, task), **{key: value for key, value in chosen.items() if value is not None}}
    if task not in _INPUT_KEY:
        raise RequestError("input", f"a {task} bundle takes --request with a JSON object, not a text")
    payload: dict[str, Any] = (
        {"messages": [{"role": "user", "content": text}]} if options["chat"] else {_INPUT_KEY[task]: text}
    )
    for key in ("max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty", "seed"):
        if options[key] is not None:
            payload[key] = options[key]
    if options["stop"]:
        payload["stop"] = list(options["stop"])
    return payload


def _file(name: str, task: str) -> str:
    """A file's bytes in base64. Raises RequestError."""
    import base64

    try:
        return base64.b64encode(Path(name).read_bytes()).decode()
    except OSError as error:
        raise RequestError(
            "input", f"a {task} bundle takes a file: {name[:200]} cannot be read ({error.strerror})"
        ) from error
