"""The config side of credentials: how a connector's model names one, or holds a secret in its place."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AliasChoices, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from rayetl.model import Identifier, Model
from rayetl.secrets.chain import Credentials
from rayetl.secrets.secret import MASK, Secret


class _Opaque:
    """Beside `Secret`: text becomes one, and a dump shows the mask. No fault quotes the value."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        del source, handler
        return core_schema.no_info_plain_validator_function(
            _secret, serialization=core_schema.plain_serializer_function_ser_schema(_mask)
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        del schema, handler
        return {"type": "string", "title": "InlineSecret", "format": "password", "writeOnly": True}


def _secret(value: object) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError("a secret is a text that is not empty; put it in quotes, or use `credential`")
    return Secret(value)


def _mask(value: object) -> str | None:
    return None if value is None else MASK


InlineSecret = Annotated[Secret, _Opaque()]
"""The type of a secret written into a config; the config is warned about."""


class UsesCredential(Model):
    """The part of a connector's model that says what opens its connections.

    Fields of type `InlineSecret` in the model are the fallback; a config that uses one is warned about, and
    one that gives both is refused.
    """

    credential: Identifier | None = Field(
        default=None,
        validation_alias=AliasChoices("credential", "credentialId", "credential_id"),
        description="Name of the credential that opens the connection. It is looked up when the connection "
        "is opened: in the encrypted file (`rayetl vault`), the environment "
        "(`RAYETL_CREDENTIAL_<NAME>__<FIELD>`), HashiCorp Vault, AWS Secrets Manager.",
        examples=["warehouse"],
    )

    def inline_secrets(self) -> tuple[str, ...]:
        """The fields in which the config itself holds a secret."""
        return tuple(name for name in type(self).model_fields if isinstance(getattr(self, name), Secret))

    def assert_found(self) -> None:
        """Look up every credential that it names. Raises what `Credentials.find` raises."""
        if self.credential is not None:
            Credentials.here().find(self.credential)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.credential is not None and (inline := self.inline_secrets()):
            raise ValueError(f"`credential` and `{inline[0]}` are both given; remove `{inline[0]}`")
        return self
