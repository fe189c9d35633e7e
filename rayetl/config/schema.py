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
    definitions = schema.get("$defs", {})
    _exemplify(schema, definitions)
    _require_tags(schema, definitions)
    return {"$schema": DIALECT, **_widened(schema), "title": "rayetl pipeline"}


def _require_tags(node: Any, definitions: dict[str, Any]) -> None:
    """Where `type` chooses between models it must be given, whatever default it has in Python."""
    if isinstance(node, list):
        for item in node:
            _require_tags(item, definitions)
    if not isinstance(node, dict):
        return
    for reference in node.get("discriminator", {}).get("mapping", {}).values():
        member = definitions[reference.rpartition("/")[2]]
        member["required"] = sorted({"type", *member.get("required", ())})
    for key, inner in node.items():
        if key not in _VALUES:
            _require_tags(inner, definitions)


def _exemplify(node: Any, definitions: dict[str, Any]) -> None:
    """Give a field whose values can be listed, and that has no example of its own, some of them."""
    if isinstance(node, list):
        for item in node:
            _exemplify(item, definitions)
    if not isinstance(node, dict):
        return
    for name, inner in node.items():
        if name == "properties":
            for field in inner.values():
                if "examples" not in field and (found := _listed(field, definitions)):
                    field["examples"] = [value for value in found if value != field.get("default")][:2]
        if name not in _VALUES:
            _exemplify(inner, definitions)


def _listed(schema: Any, definitions: dict[str, Any]) -> list[Any]:
    if schema.get("type") == "boolean":
        return [True, False]
    if "enum" in schema or "const" in schema:
        return list(schema.get("enum", ())) or [schema["const"]]
    if "$ref" in schema:
        return _listed(definitions.get(schema["$ref"].rpartition("/")[2], {}), definitions)
    return [value for inner in schema.get("anyOf", ()) for value in _listed(inner, definitions)]


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
