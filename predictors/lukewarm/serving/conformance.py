"""The bad-request corpus and its judge: what no target may answer with 2xx, 5xx, silence or another error shape.

`python -m lukewarm.serving.conformance http://127.0.0.1:8000` runs it against any server of a text-generation model.
"""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

ABSENT = object()  # a body that is no JSON value
FIELDS = {"code", "message", "path", "allowed"}


class BadRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request that must be refused. `value` is the body as plain data, for platforms that wrap it in their own."""

    name: str
    body: bytes
    value: Any = ABSENT
    codes: tuple[str, ...]  # any of these
    statuses: tuple[int, ...] = (400,)
    path: str | None = None  # the exact path, if the case has one
    method: str = "POST"
    headers: Mapping[str, str] = msgspec.field(default_factory=lambda: {"content-type": "application/json"})

    @property
    def is_json(self) -> bool:
        """The body can be handed over as plain data."""
        return self.value is not ABSENT


def value_case(name: str, value: Any, codes: str, path: str | None) -> BadRequest:
    """A case whose body is JSON; `codes` are separated by bars."""
    return BadRequest(name=name, body=json.dumps(value).encode(), value=value, codes=tuple(codes.split("|")), path=path)


def _raw(name: str, body: bytes, codes: str, *statuses: int) -> BadRequest:
    return BadRequest(name=name, body=body, codes=tuple(codes.split("|")), statuses=statuses or (400,))


_ROLE = {"role": "user", "content": "hi"}
_PROMPT = {"prompt": "a b"}
# a whole body that is no text-generation request
_BODIES: tuple[tuple[str, Any, str, str | None], ...] = (
    ("no object: array", [_PROMPT], "wrong_type", "$"),
    ("no object: string", "a b", "wrong_type", "$"),
    ("no object: null", None, "wrong_type", "$"),
    ("no object: number", 1, "wrong_type", "$"),
    ("no field at all", {}, "one_of", None),
    ("prompt: number", {"prompt": 1}, "wrong_type", "$.prompt"),
    ("prompt: list", {"prompt": ["a"]}, "wrong_type", "$.prompt"),
    ("prompt: object", {"prompt": {}}, "wrong_type", "$.prompt"),
    ("prompt: boolean", {"prompt": True}, "wrong_type", "$.prompt"),
    ("messages: empty", {"messages": []}, "out_of_range", "$.messages"),
    ("messages: strings", {"messages": ["hi"]}, "wrong_type", "$.messages[0]"),
    ("messages: no content", {"messages": [{"role": "user"}]}, "missing_key", "$.messages[0]"),
    ("messages: unknown key", {"messages": [{**_ROLE, "nam": "x"}]}, "unknown_key", "$.messages[0].nam"),
    ("messages: role: number", {"messages": [_ROLE, {**_ROLE, "role": 1}]}, "wrong_type", "$.messages[1].role"),
    ("items: object", {"items": _PROMPT}, "wrong_type", "$.items"),
    ("items: none", {"items": []}, "out_of_range", "$.items"),
    ("items as a stream", {"items": [_PROMPT], "stream": True}, "not_streamable", "$.stream"),
)
# what is added to a good request: fields, code, path
_ADDED: tuple[tuple[str, dict[str, Any], str, str | None], ...] = (
    ("prompt and messages", {"messages": [_ROLE]}, "one_of", None),
    ("unknown key", {"tempreature": 1}, "unknown_key", "$.tempreature"),
    ("unknown key: empty", {"": 1}, "unknown_key", None),
    ("unknown key: not ASCII", {"température": 1}, "unknown_key", "$.température"),
    ("unknown key: 10,000 characters", {"k" * 10_000: 1}, "unknown_key", None),
    ("max_new_tokens: zero", {"max_new_tokens": 0}, "out_of_range", "$.max_new_tokens"),
    ("max_new_tokens: negative", {"max_new_tokens": -1}, "out_of_range", "$.max_new_tokens"),
    ("max_new_tokens: text", {"max_new_tokens": "5"}, "wrong_type", "$.max_new_tokens"),
    ("max_new_tokens: fraction", {"max_new_tokens": 1.5}, "wrong_type", "$.max_new_tokens"),
    ("max_new_tokens: boolean", {"max_new_tokens": True}, "wrong_type", "$.max_new_tokens"),
    ("max_new_tokens: 10^30", {"max_new_tokens": 10**30}, "out_of_range", "$.max_new_tokens"),
    ("temperature: negative", {"temperature": -0.1}, "out_of_range", "$.temperature"),
    ("temperature: text", {"temperature": "hot"}, "wrong_type", "$.temperature"),
    ("temperature: too high", {"temperature": 1000}, "out_of_range", "$.temperature"),
    ("top_p: zero", {"top_p": 0}, "out_of_range", "$.top_p"),
    ("top_p: over one", {"top_p": 1.01}, "out_of_range", "$.top_p"),
    ("top_k: negative", {"top_k": -1}, "out_of_range", "$.top_k"),
    ("seed: negative", {"seed": -1}, "out_of_range", "$.seed"),
    ("seed: 2^63", {"seed": 2**63}, "out_of_range", "$.seed"),
    ("stop: text", {"stop": "x"}, "wrong_type", "$.stop"),
    ("stop: an empty string", {"stop": [""]}, "out_of_range", "$.stop[0]"),
    ("stop: 17 strings", {"stop": ["x"] * 17}, "out_of_range", "$.stop"),
    ("ignore_eos: null", {"ignore_eos": None}, "wrong_type", "$.ignore_eos"),
    ("stream: number", {"stream": 1}, "wrong_type", "$.stream"),
    ("items beside a prompt", {"items": [_PROMPT]}, "unknown_key", "$.prompt"),
)


def text_generation_cases(max_new_tokens: int = 1024, max_items: int = 64) -> list[BadRequest]:
    """Bodies that are JSON but no text-generation request. The limits are those of the served spec."""
    over = {"max_new_tokens": max_new_tokens + 1}
    return [
        *(value_case(*body) for body in _BODIES),
        *(value_case(name, {**_PROMPT, **fields}, codes, path) for name, fields, codes, path in _ADDED),
        value_case("max_new_tokens: over the limit", {**_PROMPT, **over}, "out_of_range", "$.max_new_tokens"),
        value_case("items: too many", {"items": [_PROMPT] * (max_items + 1)}, "out_of_range", "$.items"),
    ]


def json_cases(max_body_bytes: int = 16 * 2**20) -> list[BadRequest]:
    """Bodies that are not JSON, not UTF-8, or that JSON parsers disagree about."""
    return [
        _raw("empty body", b"", "empty_body|length_required", 400, 411),
        _raw("blank body", b" \n ", "empty_body"),
        _raw("not JSON", b"prompt=hello", "invalid_json"),
        _raw("cut off", b'{"prompt": "a', "invalid_json"),
        _raw("text after the end", b'{"prompt": "a"} x', "invalid_json"),
        _raw("two values", b'{"prompt": "a"}{"prompt": "b"}', "invalid_json"),
        _raw("trailing comma", b'{"prompt": "a",}', "invalid_json"),
        _raw("single quotes", b"{'prompt': 'a'}", "invalid_json"),
        _raw("comment", b'{"prompt": "a"} // hi', "invalid_json"),
        _raw("byte order mark", b'\xef\xbb\xbf{"prompt": "a"}', "invalid_json|invalid_utf8"),
        _raw("control character in a string", b'{"prompt": "a\x00b"}', "invalid_json"),
        _raw("invalid UTF-8", b'{"prompt": "\xff\xfe"}', "invalid_utf8|invalid_json"),
        _raw("overlong UTF-8", b'{"prompt": "\xc0\xaf"}', "invalid_utf8|invalid_json"),
        _raw("UTF-8 surrogate", b'{"prompt": "\xed\xa0\x80"}', "invalid_utf8|invalid_json"),
        _raw("UTF-16", '{"prompt": "a"}'.encode("utf-16"), "invalid_utf8|invalid_json"),
        _raw("lone high surrogate", b'{"prompt": "\\ud800"}', "lone_surrogate"),
        _raw("lone low surrogate", b'{"prompt": "x\\udc00y"}', "lone_surrogate"),
        _raw("surrogates the wrong way round", b'{"prompt": "\\udc00\\ud800"}', "lone_surrogate"),
        _raw("NaN", b'{"prompt": "a", "temperature": NaN}', "out_of_range|invalid_json"),
        _raw("Infinity", b'{"prompt": "a", "temperature": Infinity}', "out_of_range|invalid_json"),
        _raw("-Infinity", b'{"prompt": "a", "temperature": -Infinity}', "out_of_range|invalid_json"),
        _raw("1e999", b'{"prompt": "a", "temperature": 1e999}', "out_of_range"),
        _raw("5,000 digits", b'{"prompt": "a", "seed": ' + b"9" * 5000 + b"}", "out_of_range"),
        _raw("duplicate key", b'{"prompt": "a", "prompt": "b"}', "duplicate_key"),
        _raw("duplicate key, escaped", b'{"prompt": "a", "prom\\u0070t": "b"}', "duplicate_key"),
        _raw("duplicate key, deep", b'{"messages": [{"role": "user", "role": "x", "content": "hi"}]}', "duplicate_key"),
        _raw("100 levels", b'{"prompt": ' + b"[" * 100 + b"]" * 100 + b"}", "too_deep"),
        _raw("100,000 levels", b"[" * 100_000 + b"]" * 100_000, "too_deep"),
        _raw("100,000 levels, objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "too_deep"),
        _raw("100,000 levels, never closed", b"[" * 100_000, "too_deep|invalid_json"),
        _raw("too large", b'{"prompt": "' + b"a" * max_body_bytes + b'"}', "too_large", 413),
    ]


def http_cases(route: str = "/predict") -> list[tuple[str, BadRequest]]:
    """Requests that are wrong before their body is looked at, each with its path."""
    body = b'{"prompt": "a"}'
    form = {"content-type": "application/x-www-form-urlencoded"}
    latin = {"content-type": "application/json; charset=latin-1"}
    packed = {"content-type": "application/json", "content-encoding": "gzip"}

    def case(name: str, status: int, code: str, **more: Any) -> BadRequest:
        return BadRequest(name=name, body=body, codes=(code,), statuses=(status,), **more)

    methods = ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW")
    return [
        *((route, case(f"method {method}", 405, "method_not_allowed", method=method)) for method in methods),
        ("/no/such/route", case("no such route", 404, "not_found")),
        (f"{route}/", case("a slash too many", 404, "not_found")),
        (route, case("form", 415, "media_type", headers=form)),
        (route, case("text/plain", 415, "media_type", headers={"content-type": "text/plain"})),
        (route, case("charset", 415, "media_type", headers=latin)),
        (route, case("gzip", 415, "content_encoding", headers=packed)),
    ]


def violations(case: BadRequest, status: int, body: Any) -> list[str]:
    """What is wrong with the answer to a bad request; empty: it was refused as the contract says."""
    wrong = []
    if status not in case.statuses:
        wrong.append(f"status {status}, not {' or '.join(map(str, case.statuses))}")
    error = error_of(body)
    if error is None:
        return [*wrong, f"not the error shape: {str(body)[:200]}"]
    if error["code"] not in case.codes:
        wrong.append(f"code {error['code']!r}, not {' or '.join(case.codes)}")
    if case.path is not None and error["path"] != case.path:
        wrong.append(f"path {error['path']!r}, not {case.path!r}")
    if not error["message"]:
        wrong.append("no message")
    if any(word in json.dumps(body) for word in ("Traceback", 'File "', ".py")):
        wrong.append("a traceback or a file name reached the client")
    return wrong


def error_of(body: Any) -> dict[str, str] | None:
    """The four fields of an error body (in `detail` on the Open Inference Protocol's routes); None: another shape."""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, str):
        error = body.get("detail")
    if not isinstance(error, dict) or not error.keys() >= FIELDS:
        return None
    return error if all(isinstance(error[name], str) for name in FIELDS) else None


def run(url: str, route: str = "/predict") -> Iterator[tuple[BadRequest, list[str]]]:
    """Send the whole corpus to a server, one connection each; cases with what was wrong."""
    cases = [(route, case) for case in [*text_generation_cases(), *json_cases()]]
    for path, case in [*cases, *http_cases(route)]:
        try:
            status, body = send(url, path, case)
        except (OSError, http.client.HTTPException, ValueError) as error:
            yield case, [f"no answer in JSON: {error!r}"]
        else:
            yield case, violations(case, status, body)


def send(url: str, path: str, case: BadRequest, timeout_s: float = 30.0) -> tuple[int, Any]:
    """The status and the decoded JSON body of one case."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request(case.method, parts.path + path, case.body, dict(case.headers))
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def main(arguments: list[str]) -> int:
    """One line per case; exit code 1 if any was answered wrongly."""
    if not 1 <= len(arguments) <= 2:
        print("usage: python -m lukewarm.serving.conformance URL [ROUTE]", file=sys.stderr)
        return 2
    results = list(run(*arguments))
    for case, wrong in results:
        print(f"{'FAIL' if wrong else 'ok  '} {case.name}{': ' if wrong else ''}{'; '.join(wrong)}")
    failed = sum(bool(wrong) for _, wrong in results)
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
