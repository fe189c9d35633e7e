"""Credentials in AWS Secrets Manager: one secret for each credential, a JSON object of its fields.

Used where `RAYETL_AWS_SECRETS` is set, to the prefix of the secrets' names (`rayetl/`), because asking costs
money. Region and login are those of AWS's own tools: a role of the machine, a profile, or variables.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from rayetl.errors import CredentialError, CredentialUnavailable
from rayetl.records import dataclass
from rayetl.secrets.provider import Fields, Provider, texts_of

ABSENT = "AWS Secrets Manager (RAYETL_AWS_SECRETS is not set)"

CONNECT, READ = 3, 10
"""Seconds for connecting, and for each answer; asked twice at most."""

_PASSING = frozenset(
    (
        *("ThrottlingException", "TooManyRequestsException", "InternalServiceError", "ServiceUnavailable"),
        *("InternalFailure", "RequestTimeout", "RequestTimeoutException", "LimitExceededException"),
    )
)


def provider_of(environment: Mapping[str, str]) -> AwsProvider | None:
    """The secrets that the environment describes, `None` if it describes none."""
    prefix = environment.get("RAYETL_AWS_SECRETS")
    return None if prefix is None else AwsProvider(prefix)


@dataclass(frozen=True, slots=True)
class AwsProvider(Provider):
    """Asks at every call."""

    prefix: str

    def place(self, name: str) -> str:
        return f"AWS Secrets Manager (secret {self.prefix}{name})"

    def find(self, name: str) -> Fields | None:
        answer = self._answer(name)
        if answer is None:
            return None
        try:
            fields = json.loads(answer["SecretString"])
        except (KeyError, ValueError):
            fields = None
        return texts_of(fields, self.place(name))

    def _answer(self, name: str) -> dict[str, Any] | None:
        """What AWS answers; `None` if there is no such secret. Faults are told in words of ours."""
        try:
            from botocore import exceptions
        except ImportError as error:
            raise CredentialError(
                "AWS Secrets Manager needs a package that is not installed",
                hint="pip install 'rayetl[vault]'",
            ) from error
        try:
            answer: dict[str, Any] = _client().get_secret_value(SecretId=f"{self.prefix}{name}")
            return answer
        except exceptions.ClientError as error:
            code = str(error.response.get("Error", {}).get("Code"))
            if code == "ResourceNotFoundException":
                return None
            raise (
                self._away(f"cannot answer: {code}") if code in _PASSING else self._fault(code, name)
            ) from None
        except exceptions.SSLError:
            raise CredentialError(
                "AWS Secrets Manager cannot be trusted: its certificate does not hold",
                hint="set AWS_CA_BUNDLE to the file of the authority that signed it",
            ) from None
        except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
            raise self._away(f"cannot be reached: {type(error).__name__}") from None
        except exceptions.BotoCoreError as error:
            raise CredentialError(
                f"AWS Secrets Manager cannot be asked: {type(error).__name__}",
                hint="which region and login? set AWS_REGION, and try: aws sts get-caller-identity",
            ) from None

    def _fault(self, code: str, name: str) -> CredentialError:
        return CredentialError(
            f"AWS Secrets Manager refuses the secret {self.prefix}{name}: {code}",
            hint="may this login call secretsmanager:GetSecretValue, and use the key it is encrypted with?",
        )

    def _away(self, what: str) -> CredentialUnavailable:
        return CredentialUnavailable(
            f"AWS Secrets Manager {what}",
            hint="is the network there, and does the region hold?",
            endpoint="aws secrets manager",
        )


def _client() -> Any:
    from boto3.session import Session
    from botocore.config import Config

    # A session of its own: the one that boto3 shares is not for several threads.
    retries: Any = {"total_max_attempts": 2, "mode": "standard"}
    config = Config(connect_timeout=CONNECT, read_timeout=READ, retries=retries)
    # AWS's other tools know AWS_REGION, boto3 only the older name.
    return Session(region_name=os.environ.get("AWS_REGION")).client("secretsmanager", config=config)
