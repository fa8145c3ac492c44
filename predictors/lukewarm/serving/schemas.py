"""JSON Schemas of requests and answers, from the structs and this engine's limits."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import msgspec

from lukewarm.predictors.tasks import TASKS
from lukewarm.serving.call import Meta
from lukewarm.serving.engine import Engine
from lukewarm.serving.shapes.common import MAIN_FIELD

REF = "#/components/schemas/{name}"
BASE64 = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"


class ErrorFields(msgspec.Struct, kw_only=True):
    """What went wrong: a stable code, a sentence, where in the request (JSONPath), and what would be accepted."""

    code: str
    message: str
    path: str
    allowed: str


class Error(msgspec.Struct, kw_only=True):
    error: ErrorFields


class OpenAIErrorFields(ErrorFields, kw_only=True):
    type: str
    param: str | None


class OpenAIError(msgspec.Struct, kw_only=True):
    error: OpenAIErrorFields


class OipError(msgspec.Struct, kw_only=True):
    error: str
    detail: ErrorFields


class Schemas:
    """Collects components while the operations refer to them."""

    def __init__(self, engine: Engine) -> None:
        self.components: dict[str, Any] = {}
        self._engine = engine
        self._limits = engine.spec.limits
        self._request_type = engine.reader.request_type
        self._main = MAIN_FIELD[engine.task]

    def ref(self, kind: Any) -> dict[str, Any]:
        """A reference to a struct's schema, tightened by the engine's limits."""
        (schema,), components = msgspec.json.schema_components([kind], ref_template=REF)
        for name, component in components.items():
            if name not in self.components:
                self.components[name] = self._tightened(component)
        return schema

    def error(self) -> dict[str, Any]:
        return self.ref(Error)

    def openai_error(self) -> dict[str, Any]:
        return self.ref(OpenAIError)

    def oip_error(self) -> dict[str, Any]:
        return self.ref(OipError)

    def item(self) -> dict[str, Any]:
        """One native item."""
        return self.ref(self._request_type)

    def native_request(self) -> dict[str, Any]:
        """An item with `stream`, or a batch."""
        self.item()
        single = copy.deepcopy(self.components[self._request_type.__name__])
        single["properties"]["stream"] = {"type": "boolean", "default": False}
        self.components["PredictRequest"] = {**single, "title": "PredictRequest"}
        batch = {
            "type": "object",
            "required": ["items"],
            "properties": {"items": self._several({}), "stream": {"const": False}},
            "additionalProperties": False,
            "description": f"Each item is one request ({self._request_type.__name__}); a wrong one fails alone.",
        }
        return {"anyOf": [{"$ref": REF.format(name="PredictRequest")}, batch]}

    def envelope(
        self, key: str, *, parameters: bool = False, single: bool = False, bare: bool = False
    ) -> dict[str, Any]:
        """`{key: [values], "parameters": {...}}` as several platforms have it.

        `single`: one value may stand without a list. `bare`: values are the task's main field, no objects.
        """
        self.item()
        fields = self.components[self._request_type.__name__]["properties"]
        value = self._not_null(fields[self._main])
        one = value if bare else {"anyOf": [value, self.item()]}
        several = self._several(value if bare else {})
        properties = {key: {"anyOf": [one, several]} if single else several}
        if parameters:
            rest = {name: field for name, field in fields.items() if name not in (self._main, "messages")}
            if bare:
                rest |= {"do_sample": {"type": "boolean"}, "return_full_text": {"type": "boolean"}}
            options = {"type": "object", "properties": rest, "additionalProperties": False}
            properties["parameters"] = {"anyOf": [options, {"type": "null"}]}
        return {"type": "object", "required": [key], "properties": properties, "additionalProperties": False}

    def answer(self) -> dict[str, Any]:
        """One result with `meta`."""
        result = TASKS[self._engine.task][1]
        return {"allOf": [self.ref(result), {"type": "object", "required": ["meta"], "properties": self._meta()}]}

    def outcomes(self) -> dict[str, Any]:
        """A list of results and errors."""
        return {"type": "array", "items": {"anyOf": [self.ref(TASKS[self._engine.task][1]), self.error()]}}

    def listed(self, key: str) -> dict[str, Any]:
        """A list of results and errors under a key, with `meta`."""
        properties = {key: self.outcomes(), **self._meta()}
        return {"type": "object", "required": [key, "meta"], "properties": properties}

    def openai(self, kind: Any, neutral: Any, nested: Mapping[str, Any]) -> dict[str, Any]:
        """An OpenAI request: the struct, plus the parameters that are taken only at a neutral value.

        `nested` has those of the structs inside it, by name.
        """
        reference = self.ref(kind)
        schema = self.components[kind.__name__]
        for component, inner in nested.items():
            for name, values in inner.items() if component in self.components else ():
                self.components[component]["properties"].setdefault(name, {"enum": list(values)})
        schema["properties"]["model"] = {"enum": [self._engine.spec.name, None]}
        for name, values in neutral.items():
            schema["properties"].setdefault(name, {"enum": list(values)})
        both = ("max_tokens", "max_completion_tokens")
        if all(name in schema["properties"] for name in both):
            schema["not"] = {"required": list(both), "properties": {name: {"type": "integer"} for name in both}}
        if "prompt" in schema["properties"]:
            several = {"stream": {"const": True}, "prompt": {"type": "array", "minItems": 2}}
            schema["not"] = {"required": ["stream", "prompt"], "properties": several}
        return reference

    def _meta(self) -> dict[str, Any]:
        return {"meta": self.ref(Meta)}

    def _several(self, item: dict[str, Any]) -> dict[str, Any]:
        return {"type": "array", "items": item, "minItems": 1, "maxItems": self._limits.max_items}

    def _tightened(self, component: dict[str, Any]) -> dict[str, Any]:
        properties = component.get("properties", {})
        for name in ("max_new_tokens", "max_tokens", "max_completion_tokens"):
            for option in properties.get(name, {}).get("anyOf", []):
                if option.get("type") == "integer":
                    option["maximum"] = self._limits.max_new_tokens
        for name in ("prompt", "input"):
            for option in properties.get(name, {}).get("anyOf", []):
                if option.get("type") == "array":
                    option["maxItems"] = self._limits.max_items
        if properties.get("data", {}).get("contentEncoding") == "base64":
            properties["data"]["pattern"] = BASE64
            if self._limits.url_inputs:
                properties["url"] = {"type": "string", "description": "http or https, in place of data"}
                component["required"] = [name for name in component["required"] if name != "data"]
                component["oneOf"] = [{"required": ["data"]}, {"required": ["url"]}]
        if {"prompt", "messages"} <= properties.keys() and component["additionalProperties"] is False:
            component["oneOf"] = [_only("prompt", "string", "messages"), _only("messages", "array", "prompt")]
        return component

    @staticmethod
    def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
        options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
        return options[0] if len(options) == 1 else schema


def _only(field: str, kind: str, other: str) -> dict[str, Any]:
    return {"required": [field], "properties": {field: {"type": kind}, other: {"type": "null"}}}
