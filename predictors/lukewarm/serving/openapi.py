"""The OpenAPI 3.1 document, generated from the routes table and the request and result structs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from lukewarm.serving.engine import Engine
from lukewarm.serving.http import EVENTS, Endpoint
from lukewarm.serving.schemas import Schemas
from lukewarm.serving.shapes.health import lukewarm_version

REFUSALS: Mapping[int, str] = {
    400: "The request is wrong; `path` says where, `allowed` what would be right",
    404: "No such model",
    408: "The body did not arrive in time",
    411: "Neither a length nor chunks",
    413: "The body is too large",
    415: "The media type or encoding is not taken",
    429: "No room for another request; Retry-After says when",
    500: "The model failed on this request",
    503: "Starting, failed to start, or shutting down",
    504: "No answer before the deadline",
}
# one server-sent event, as most tools read the schema of a stream
EVENT = {"type": "object", "required": ["data"], "properties": {"data": {"type": "string"}}}
RETRY_AFTER = {"Retry-After": {"schema": {"type": "string", "pattern": "^[0-9]+$"}, "description": "Seconds"}}


def document(engine: Engine, rows: Sequence[Endpoint]) -> dict[str, Any]:
    """All routes with their request, success and error schemas."""
    schemas = Schemas(engine)
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, schemas, engine)
    manifest = engine.bundle.manifest
    return {
        "openapi": "3.1.0",
        "info": {
            "title": engine.spec.name,
            "version": lukewarm_version(),
            "description": f"{manifest.task} on {manifest.backend} ({manifest.precision}), served by lukewarm",
        },
        "paths": paths,
        "components": {"schemas": schemas.components},
    }


def _operation(row: Endpoint, schemas: Schemas, engine: Engine) -> dict[str, Any]:
    content: dict[str, Any] = {row.response_media: {"schema": _schema(row.response, schemas)}}
    if row.events:
        content[EVENTS] = {"schema": EVENT}
    if row.method == "POST":
        content |= {media: {"schema": {}} for media in row.media if media not in content}
    responses: dict[str, Any] = {"200": {"description": "Done", "content": content}}
    error = row.error_schema(schemas) if row.error_schema else schemas.error()
    for status, text in _refusals(row).items():
        responses[str(status)] = {"description": text, "content": {"application/json": {"schema": error}}}
        if status in (429, 503):
            responses[str(status)]["headers"] = RETRY_AFTER
    name = re.sub(r"\W+", "_", f"{row.method.lower()}{row.path}").strip("_")
    operation: dict[str, Any] = {"summary": row.summary, "operationId": name, "responses": responses}
    if parameters := re.findall(r"\{(\w+)\}", row.path):
        allowed = {"model": engine.spec.name, "version": "1"}
        operation["parameters"] = [
            {"name": part, "in": "path", "required": True, "schema": {"type": "string", "enum": [allowed[part]]}}
            for part in parameters
        ]
    if row.method == "POST":
        body = {media: {"schema": _schema(row.request, schemas)} for media in row.media if media.endswith("json")}
        operation["requestBody"] = {"required": True, "content": body}
    return operation


def _schema(schema: Any, schemas: Schemas) -> Any:
    if schema is None:
        return {}
    if isinstance(schema, type) and issubclass(schema, msgspec.Struct):
        return schemas.ref(schema)
    return schema(schemas)


def _refusals(row: Endpoint) -> dict[int, str]:
    if row.method == "GET":
        wanted = [500, 503] + ([404] if "{" in row.path else [])
    else:
        wanted = [status for status in REFUSALS if status != 404 or "{" in row.path or row.path.startswith("/v1/")]
    return {**{status: REFUSALS[status] for status in sorted(wanted)}, **row.statuses}
