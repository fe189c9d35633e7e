"""The JSON Schema of a config, for editors and for checks without rayetl."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from pydantic.json_schema import GenerateJsonSchema

from rayetl.config.models import PipelineConfig

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_REFERENCE = {"type": "string", "pattern": r"\$\{[^{}]+\}"}
_VALUES = ("examples", "default", "const", "enum")
_NAMED = ("properties", "$defs", "patternProperties")
_TOLD = ("description", "default", "examples", "title")
_NOT_TEXT = ("integer", "number", "boolean")


class _Generator(GenerateJsonSchema):
    """Titles that only repeat the name of the field say nothing to a reader."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - the hook's signature
        return False


def json_schema(model: type[BaseModel] = PipelineConfig) -> dict[str, Any]:
    """JSON Schema (Draft 2020-12) of a config. Every field is there in snake_case and camelCase, and where a
    number or a truth value is wanted a `${...}` reference is allowed."""
    schema = model.model_json_schema(by_alias=True, schema_generator=_Generator)
    widened = _widened(schema)
    assert isinstance(widened, dict)
    return {
        "$schema": DIALECT,
        "title": "rayetl pipeline",
        **{k: v for k, v in widened.items() if k != "title"},
    }


def _widened(node: Any, *, of_names: bool = False) -> Any:
    if isinstance(node, list):
        return [_widened(item) for item in node]
    if not isinstance(node, dict):
        return node
    if of_names:
        return {name: _widened(value) for name, value in node.items()}
    result = {
        key: value if key in _VALUES else _widened(value, of_names=key in _NAMED)
        for key, value in node.items()
    }
    if "patternProperties" in result:
        result.setdefault("additionalProperties", False)
    if "properties" in result and result.get("type") == "object":
        return _with_camel_case(result)
    return _with_reference(result)


def _with_camel_case(schema: dict[str, Any]) -> dict[str, Any]:
    """`groupBy` beside `group_by`, and where it is required one of the two."""
    properties = dict(schema["properties"])
    required: list[str] = []
    either: list[dict[str, Any]] = []
    for name in schema["properties"]:
        camel = to_camel(name)
        if camel == name:
            required += [name] * (name in schema.get("required", ()))
            continue
        properties[camel] = schema["properties"][name]
        pair: list[dict[str, Any]] = [{"required": [name]}, {"required": [camel]}]
        if name in schema.get("required", ()):
            either.append({"oneOf": pair})
        else:
            either.append({"not": {"required": [name, camel]}})
    rest = {key: value for key, value in schema.items() if key not in ("properties", "required", "allOf")}
    result = {**rest, "properties": properties}
    if required:
        result["required"] = required
    if either:
        result["allOf"] = [*schema.get("allOf", ()), *either]
    return result


def _with_reference(schema: dict[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    if kind not in _NOT_TEXT and not ("enum" in schema and kind == "string"):
        return schema
    told: dict[str, Any] = {
        key: schema[key] for key in ("description", "default", "examples", "title") if key in schema
    }
    inner = {key: value for key, value in schema.items() if key not in told}
    told["anyOf"] = [inner, _REFERENCE]
    return told
