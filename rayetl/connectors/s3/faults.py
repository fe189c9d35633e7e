"""What goes wrong at S3, in words of ours: by the code of an answer, never by its text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from rayetl.errors import CredentialError, Retryable, Terminal

if TYPE_CHECKING:
    from rayetl.connectors.s3.account import S3Account


class Missing(Terminal):
    """There is no such object or upload."""


class Precondition(Terminal):
    """The condition of a request does not hold: the object is there already, or is another one."""


_KEYS = frozenset(
    (
        *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "ExpiredTokenException"),
        *("InvalidToken", "TokenRefreshRequired", "InvalidClientTokenId", "InvalidSecurity", "AuthFailure"),
    )
)
_MISSING = frozenset(("NoSuchKey", "NoSuchUpload", "404", "NotFound"))
_CONDITIONS = frozenset(("PreconditionFailed", "412"))
_PASSING = frozenset(
    (
        *("SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "RequestTimeoutException"),
        *("Throttling", "ThrottlingException", "RequestLimitExceeded", "OperationAborted", "ServerBusy"),
        *("ConditionalRequestConflict", "XMinioServerNotInitialized"),
    )
)
_REGIONS = frozenset(
    ("PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException")
)
_SKEW = frozenset(("RequestTimeTooSkewed", "RequestExpired"))


@contextmanager
def told(account: S3Account, doing: str, fault: type[Terminal]) -> Iterator[None]:
    """Turns what the driver raises into errors of ours; see `S3Account.call`."""
    try:
        from botocore import exceptions
        from botocore.parsers import ResponseParserError
    except ImportError as error:
        raise fault(
            "files on S3 need a package that is not installed", hint="pip install 'rayetl[s3]'"
        ) from error
    try:
        yield
    except exceptions.ClientError as error:
        _of_answer(account, doing, fault, error)
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise CredentialError(
            f"no keys for S3 were found on this machine, while {doing}",
            hint="name a `credential` in the source or load, or log in with AWS's own tools",
        ) from error
    except exceptions.SSLError as error:
        raise fault(
            f"{account.service} cannot be trusted: its certificate does not hold",
            hint="set AWS_CA_BUNDLE to the file of the authority that signed it",
        ) from error
    except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
        raise _away(account, doing, type(error).__name__) from error
    except ResponseParserError as error:
        # An answer that says that all is well, and breaks off.
        raise _away(account, doing, type(error).__name__) from error
    except exceptions.BotoCoreError as error:
        raise fault(
            f"S3 cannot be asked ({type(error).__name__}), while {doing}",
            hint=f"does {account.who} hold, and do the settings of AWS's own tools?",
        ) from error


def is_refusal(error: Exception) -> bool:
    """Whether the service refuses the keys of a request, or that they do this."""
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return code in _KEYS or code in ("AccessDenied", "403", "Forbidden")


def _of_answer(account: S3Account, doing: str, fault: type[Terminal], error: Any) -> NoReturn:
    answer = error.response
    code = str(answer.get("Error", {}).get("Code", ""))
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if error.operation_name == "AssumeRole" and status < 500:
        raise CredentialError(
            f"the role of {account.who} was refused: {code}",
            hint="may its keys call sts:AssumeRole, and does the role trust them?",
        ) from None
    if code in _CONDITIONS:
        raise Precondition(f"{account.service} has another object, or one already, while {doing}") from None
    if code in _MISSING:
        raise Missing(f"{account.service} has no such object, while {doing}") from None
    if code in _KEYS:
        raise CredentialError(
            f"{account.service} refuses the keys of {account.who}: {code}",
            hint=_remedy(account),
        ) from None
    if code in _PASSING or status >= 500 or status == 429:
        raise _away(account, doing, code) from None
    raise fault(f"{account.service} refuses {doing}: {code}", hint=_advice(account, code, status)) from None


def _remedy(account: S3Account) -> str:
    if account.lender is not None:
        return "is this the service that they are for? `s3: {endpoint: ..., region: ...}` says another one"
    return "are they right, and still valid? `rayetl vault set` puts new ones in their place"


def _advice(account: S3Account, code: str, status: int) -> str:
    if code == "NoSuchBucket":
        return "is the bucket spelled so? is it at this service (`s3.endpoint`)?"
    if code in _REGIONS:
        return "the bucket is in another region: set `s3.region`"
    if code in _SKEW:
        return "the clock of this machine is wrong"
    if status == 403:
        return f"what may {account.who} do with this bucket? the policies of both decide"
    return "what this code means is in the service's documentation"


def _away(account: S3Account, doing: str, why: str) -> Retryable:
    return Retryable(
        f"{account.service} failed ({why}) while {doing}",
        hint="is the network there, and is the service up?",
        endpoint=account.service,
    )


def lost(account: S3Account, doing: str, error: BaseException) -> Retryable:
    """An answer that broke off."""
    return _away(account, doing, type(error).__name__)
