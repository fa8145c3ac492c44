"""What each target carries of our contract, and the platform's reason where it does not: makes docs/targets.md."""

from __future__ import annotations

from collections.abc import Mapping

from lukewarm.adapters.base import Adapter, Support
from lukewarm.adapters.closure import NEEDS_NUMPY, NEVER_IMPORTED, OPEN
from lukewarm.adapters.targets import TARGETS
from lukewarm.predictors.errors import UnsupportedError

# point of the contract -> what it promises
POINTS: Mapping[str, str] = {
    "validation": "unknown keys, wrong types, malformed JSON, NaN, duplicate keys: 4xx, never 5xx, never a traceback",
    "error_shape": "errors are `{error: {code, message, path, allowed}}` with our HTTP status",
    "body_limit": "a body over `limits.body_mb` is refused before it is read",
    "overload": "more requests than slots and queue: 429 or 503 with Retry-After, the others are answered",
    "live": "a route that says the process is alive",
    "ready": "ready only after set-up and warm-up",
    "setup_failure": "a failed set-up says why and the process ends or stays not ready",
    "drain": "SIGTERM in mid-request finishes it, then exits 0",
    "disconnect": "a caller that goes away frees its slot",
    "streaming": "pieces arrive as they are made",
    "batching": "requests that come together run together",
    "metrics": "Prometheus text",
    "openai": "/v1/completions, /v1/chat/completions, /v1/embeddings",
    "v2": "/v2/..., the Open Inference Protocol, as tritonclient speaks it",
    "meta": "boot_id, n_request, load_s, exec_s in every answer",
}
LEVELS = ("yes", "partly", "no")
_SIGNS = {"yes": "yes", "partly": "partly", "no": "no"}


def full(**exceptions: Support) -> dict[str, Support]:
    """Every point as our own ASGI app carries it, but for the exceptions."""
    routes = {
        "live": "GET /livez", "ready": "GET /readyz", "streaming": "POST /stream (SSE)", "metrics": "GET /metrics",
    }  # fmt: skip
    rows = {point: Support(level="yes", how=routes.get(point, "our ASGI app")) for point in POINTS}
    return {**rows, **exceptions}


def yes(how: str) -> Support:
    return Support(level="yes", how=how)


def partly(how: str, reason: str) -> Support:
    return Support(level="partly", how=how, reason=reason)


def no(reason: str) -> Support:
    return Support(level="no", how="-", reason=reason)


def without_http(**rows: Support) -> dict[str, Support]:
    """The points that a platform without our ASGI app in it cannot carry, and those of the engine that it can."""
    own = "the platform's own server answers, not our app"
    engine = {point: yes("our engine") for point in ("batching", "meta")}
    return {**engine, "metrics": no(own), "openai": no(own), "v2": no(own), **rows}


def all_capabilities() -> dict[str, Mapping[str, Support]]:
    """Target -> point -> support, for every row of the table of targets."""
    return {row.name: checked(TARGETS.load(row.name)) for row in TARGETS}


def checked(adapter: Adapter) -> Mapping[str, Support]:
    """An adapter's rows. Raises UnsupportedError if one is missing, unknown, or deviates without a reason."""
    rows = adapter.capabilities()
    if set(rows) != set(POINTS):
        raise UnsupportedError(f"{adapter.name}: capabilities differ from POINTS: {sorted(set(rows) ^ set(POINTS))}")
    for point, row in rows.items():
        if row.level not in LEVELS or (row.level != "yes") != bool(row.reason):
            raise UnsupportedError(f"{adapter.name}.{point}: a level of {LEVELS}, with a reason unless it is yes")
    return rows


def markdown() -> str:
    """The text of docs/targets.md."""
    table = all_capabilities()
    adapters = {name: TARGETS.load(name) for name in table}
    lines = [
        "# Targets", "",
        "Made from the adapters by `python -m lukewarm.adapters.capabilities`; a test holds this file equal.", "",
        "A new target: [adding-a-target.md](adding-a-target.md).", "",
        "| target | platform | entry | run here by | predict |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for name, adapter in adapters.items():
        call = adapter.wire.predict(b"{}")
        lines.append(f"| {name} | {adapter.title} | `{adapter.entry}` | {adapter.runs} | `{call.method} {call.path}` |")
    lines += ["", "## The contract on each target", "", f"| | {' | '.join(table)} |", "|---|" + "---|" * len(table)]
    for point in POINTS:
        lines.append(f"| {point} | {' | '.join(_SIGNS[rows[point].level] for rows in table.values())} |")
    lines += ["", *(f"- **{point}**: {promise}." for point, promise in POINTS.items())]
    lines += ["", *_packages(adapters)]
    for name, rows in table.items():
        lines += ["", f"## {name}", "", "| point | | how | why not wholly |", "|---|---|---|---|"]
        lines += [f"| {point} | {row.level} | {row.how} | {row.reason} |" for point, row in rows.items()]
        lines += ["", *_options(adapters[name])]
    return "\n".join(lines) + "\n"


def _packages(adapters: Mapping[str, Adapter]) -> list[str]:
    """What each platform's image builder does with our closed list of requirements."""
    declared = "; ".join(f"`{name}` asks for {', '.join(names)}" for name, names in NEVER_IMPORTED.items())
    kept = "; ".join(f"{', '.join(tasks)} on `{backend}`" for backend, tasks in NEEDS_NUMPY.items())
    lines = [
        "## Packages of the image", "",
        "`lukewarm build` writes a closed list: every package of the backend and all that it needs, pinned, for "
        "`pip install --no-deps`. Left out is what a package declares and our use of it never imports: "
        f"{declared} (numpy stays for {kept}). Where a builder cannot be told `--no-deps`, the list is the direct "
        "packages, pinned; pip resolves the rest when the image is built, so these come along, and nothing is slimmed.",
        "",
        f"The list is open on every target when the spec has `requirements` of its own, or a package of "
        f"{', '.join(f'`{name}`' for name in OPEN)}: the index decides what those need.", "",
        "| target | closed list | installed by |", "|---|---|---|",
    ]  # fmt: skip
    return [*lines, *(f"| {a.name} | {'yes' if a.closes else 'no'} | {a.installs} |" for a in adapters.values())]


def _options(adapter: Adapter) -> list[str]:
    head = f"Options under `targets.{adapter.name}`: "
    items = [f"`{key}` ({text})" for key, text in adapter.options.items()]
    return [head + ", ".join([*items, f"`overrides` ({adapter.overrides})"]) + "."]


if __name__ == "__main__":
    print(markdown(), end="")
