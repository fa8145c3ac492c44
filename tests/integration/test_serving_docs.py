"""The examples of docs/serving.md, sent again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from support.serving import JSON, echo_artifact, running

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
EXAMPLE = re.compile(r"^\$ curl -sN? (\S+) -H '[^']*' -d '([^']*)'\n(.*?)(?=\n```|\n\$ )", re.MULTILINE | re.DOTALL)
CHANGING = {"boot_id", "n_request", "load_s", "exec_s", "id", "created"}


def settled(value: Any) -> Any:
    """The value without what changes from run to run."""
    if isinstance(value, dict):
        return {key: None if key in CHANGING else settled(child) for key, child in value.items()}
    return [settled(child) for child in value] if isinstance(value, list) else value


def parsed(text: str) -> Any:
    if text.startswith("data: "):
        return [json.loads(line.removeprefix("data: ")) for line in text.split("\n\n") if line]
    return json.loads(text)


def test_the_examples_answer_as_printed(tmp_path: Path) -> None:
    examples = EXAMPLE.findall(PAGE.read_text("utf-8"))
    assert len(examples) == PAGE.read_text("utf-8").count("$ curl") == 9
    with running(echo_artifact(tmp_path)) as server:
        for url, body, printed in examples:
            answer = httpx.post(server.url + urlsplit(url).path, content=body.encode(), headers=JSON)
            assert settled(parsed(answer.text.strip())) == settled(parsed(printed.strip())), url
