"""Where a Delta table lies: in a directory of this machine, or below a prefix of a bucket."""

from __future__ import annotations

import os
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from rayetl.connectors.base import InputFile
from rayetl.connectors.commit.durable import sync
from rayetl.connectors.places import advice, is_on_s3, split_key
from rayetl.connectors.s3.account import S3Account
from rayetl.errors import CredentialError, LoadError, Retryable, SourceError, Terminal
from rayetl.records import dataclass

LOG = "_delta_log"
_UNREADABLE = (
    f"bring back a whole copy of its {LOG}, or let Spark write the table anew if that still reads it"
)

_CONNECT, _TRIES, _LONGEST = "5s", "3", "60s"
"""As the driver of files does; the library's own are much longer."""


@dataclass(frozen=True, slots=True)
class DeltaPlace(ABC):
    """A place that may hold a table. `path` is what the config says."""

    path: str

    @staticmethod
    def of(path: str, account: S3Account, protection: tuple[tuple[str, str], ...] = ()) -> DeltaPlace:
        """The place of a `path`, opened by `account` where it is on S3, and what is written there encrypted
        as `protection` says."""
        if is_on_s3(path):
            return Bucket(path.rstrip("/"), account, protection)
        return Directory(path)

    @property
    def address(self) -> str:
        """What the library is told."""
        return self.path

    @property
    @abstractmethod
    def searched(self) -> str:
        """Where it was looked for, in words."""

    @abstractmethod
    def may_hold(self, fault: type[Terminal]) -> bool:
        """Whether there is anything. Raises `fault` and, of a service, `CredentialError` and `Retryable`."""

    @abstractmethod
    def stranger(self) -> str | None:
        """A file here that belongs to no table, if there is no table. Raises `LoadError` for a place that no
        table can be made at, and what `may_hold` raises."""

    @abstractmethod
    def options(self) -> dict[str, str] | None:
        """With what the library opens it, as it is now: keys may be changed, and those of roles end."""

    @abstractmethod
    def has_other_keys_than(self, options: dict[str, str] | None) -> bool:
        """Whether keys hold now that are not those in `options`. Raises what `may_hold` raises."""

    @abstractmethod
    def commit(self, version: int) -> bytes | None:
        """The commit that made a version, as JSON lines; `None` if the log does not have it any more."""

    @abstractmethod
    def resolve(self, name: str) -> str:
        """The path of a file that the log names: relative and percent-encoded, or an address."""

    @abstractmethod
    def inputs(self, paths: Sequence[str]) -> list[InputFile | OSError]:
        """Files of the table as a scan reads them, or why one of them cannot be read."""

    @abstractmethod
    def create(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """A new data file, which is there for good once the block is left without a fault."""

    @abstractmethod
    def blame(self, fault: type[Terminal], error: Exception) -> None:
        """Raise what is wrong with the place itself, as far as something is, after the library has failed."""

    @contextmanager
    def told(self, fault: type[Terminal] = SourceError) -> Iterator[None]:
        """Turns what the library raises into `fault` with one sentence that names the table."""
        lake = library(fault)
        try:
            yield
        except (lake.exceptions.DeltaError, ValueError, OSError) as error:
            self.blame(fault, error)
            doing, hint = ("loaded into", None) if fault is LoadError else ("read", _UNREADABLE)
            message = f"the Delta table {self.path} cannot be {doing}: {_sentence(error)}"
            raise fault(message, hint=advice(error) or hint) from error


@dataclass(frozen=True, slots=True)
class Directory(DeltaPlace):
    """See `DeltaPlace`."""

    @property
    def searched(self) -> str:
        return f"its directory would hold {LOG}; paths are relative to {os.getcwd()}"

    def may_hold(self, fault: type[Terminal]) -> bool:
        del fault
        # Where there is nothing, the library would make a directory before it says so.
        return Path(self.path).is_dir()

    def stranger(self) -> str | None:
        root = Path(self.path)
        if root.exists() and not root.is_dir():
            raise LoadError(f"{root} is a file; a Delta table is a directory", hint="choose another path")
        if (root / LOG).is_dir():
            return None
        return next((path.name for path in root.glob("*") if not is_control(path.name)), None)

    def options(self) -> None:
        return None

    def has_other_keys_than(self, options: dict[str, str] | None) -> bool:
        return options is not None

    def commit(self, version: int) -> bytes | None:
        try:
            return Path(self.path, LOG, _commit_name(version)).read_bytes()
        except FileNotFoundError:
            return None

    def resolve(self, name: str) -> str:
        # Of a file elsewhere, as clones name them, it is an address: `file:/...` to Spark.
        return str(Path(self.path, unquote(urlsplit(name).path if name.startswith("file:/") else name)))

    def inputs(self, paths: Sequence[str]) -> list[InputFile | OSError]:
        return [_input(path) for path in paths]

    @contextmanager
    def create(self, name: str) -> Iterator[IO[bytes]]:
        path = Path(self.path, name)
        with path.open("xb") as stream:
            yield stream
        sync(path)
        sync(path.parent)

    def blame(self, fault: type[Terminal], error: Exception) -> None:
        """Nothing: what is wrong with a directory the library says itself."""


def _input(path: str) -> InputFile | OSError:
    try:
        status = os.stat(path)
    except OSError as error:
        return error
    return InputFile(path, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Bucket(DeltaPlace):
    """See `DeltaPlace`. The library has an S3 client of its own, which gets the account's keys."""

    account: S3Account
    protection: tuple[tuple[str, str], ...]

    @property
    def searched(self) -> str:
        return (
            f"there is no object below {self.path}/{LOG}/: is it spelled so, and at {self.account.service}?"
        )

    def may_hold(self, fault: type[Terminal]) -> bool:
        return next(self._names(f"{LOG}/", fault, MaxKeys=1), None) is not None

    def _names(self, below: str, fault: type[Terminal], **more: Any) -> Iterator[str]:
        """The names in the table of all objects below a prefix."""
        from rayetl.connectors.s3.listing import objects

        bucket, key = split_key(self.path)
        for found in objects(self.account, bucket, f"{key}/{below}", fault, **more):
            yield str(found["Key"]).removeprefix(f"{key}/")

    def stranger(self) -> str | None:
        if self.may_hold(LoadError):
            return None
        names = (name for name in self._names("", LoadError) if not is_control(name))
        return next(names, None)

    def options(self) -> dict[str, str]:
        keys = self.account.keys(f"opening the Delta table {self.path}")
        if keys.token is None:
            self._assert_no_other_token()
        given = {
            "aws_access_key_id": keys.access_key.reveal(),
            "aws_secret_access_key": keys.secret_key.reveal(),
            "aws_session_token": keys.token.reveal() if keys.token else None,
            "aws_region": keys.region,
            "aws_endpoint_url": self.account.endpoint,
            "aws_virtual_hosted_style_request": _flag(not self.account.is_path_style),
            "aws_allow_http": _flag((self.account.endpoint or "").startswith("http:")),
            # Two commits of one version: the service lets the first through, and no other.
            "aws_conditional_put": "etag",
            "connect_timeout": _CONNECT,
            "timeout": _LONGEST,
            "max_retries": _TRIES,
            "retry_timeout": _LONGEST,
        }
        protection = {_ENCRYPTION[name]: value for name, value in self.protection}
        return {name: value for name, value in (given | protection).items() if value is not None}

    def has_other_keys_than(self, options: dict[str, str] | None) -> bool:
        # Keys that are refused here are looked up again.
        self.may_hold(LoadError)
        return self.options() != options

    def _assert_no_other_token(self) -> None:
        """The library fills in from the environment what it is not told, and nothing says that there is no
        token."""
        if found := next((name for name in os.environ if name.lower() in _TOKENS), None):
            raise CredentialError(
                f"the environment variable {found} would be sent along with the keys of {self.account.who}, "
                "which have no token",
                hint=f"run without it: `env -u {found} rayetl run ...`",
            )

    def commit(self, version: int) -> bytes | None:
        from rayetl.connectors.s3.faults import Missing

        bucket, key = split_key(f"{self.path}/{LOG}/{_commit_name(version)}")
        try:
            doing = f"reading the log of the Delta table {self.path}"
            return self.account.content(doing, Bucket=bucket, Key=key)[0]
        except Missing:
            return None

    def resolve(self, name: str) -> str:
        path = unquote(name)
        return path if is_on_s3(path) else f"{self.path}/{path}"

    def inputs(self, paths: Sequence[str]) -> list[InputFile | OSError]:
        from rayetl.connectors.s3.listing import objects, stored

        bucket, key = split_key(self.path)
        found = {
            file.path: file
            for each in objects(self.account, bucket, f"{key}/")
            for file in (stored(self.account, bucket, each),)
        }
        missing = FileNotFoundError(2, "no such object")
        return [found.get(path, missing) for path in paths]

    @contextmanager
    def create(self, name: str) -> Iterator[IO[bytes]]:
        from rayetl.connectors.s3.sending import send_whole
        from rayetl.connectors.s3.target import S3Target

        bucket, key = split_key(self.path)
        with tempfile.TemporaryDirectory(prefix="rayetl-") as staged:
            path = Path(staged, name)
            with path.open("xb") as stream:
                yield stream
            send_whole(S3Target(self.account, bucket, key, self.protection), [(path, name)])

    def blame(self, fault: type[Terminal], error: Exception) -> None:
        self.may_hold(fault)
        if isinstance(error, OSError) and _PASSING.search(str(error)):
            raise Retryable(
                f"{self.account.service} failed while the Delta table {self.path} was "
                f"{'loaded into' if fault is LoadError else 'read'}: {_sentence(error)}",
                hint="is the network there, and is the service up?",
                endpoint=self.account.service,
            ) from error


_PASSING = re.compile(
    r"\b(?:408|429|5\d\d) [A-Z]|error sending request|timed out|connection (?:closed|reset)"
)
"""By what the library's errors tell that trying again may help: they have no other sign than their text."""

_PAINT, _CAUSE = re.compile(r"\x1b\[\d*m"), "\u21b3"
"""The colours in errors of the library, and the arrow before each cause of one."""

_TOKENS = frozenset(("aws_session_token", "aws_token", "session_token", "token"))
"""Under these names, in any letter case, the library looks for a token."""

_ENCRYPTION = {"ServerSideEncryption": "aws_server_side_encryption", "SSEKMSKeyId": "aws_sse_kms_key_id"}


def _commit_name(version: int) -> str:
    return f"{version:020d}.json"


def is_control(name: str) -> bool:
    """Whether readers and clean-ups of tables pass over a name."""
    return name.startswith(("_", "."))


def _flag(value: bool) -> str:
    return "true" if value else "false"


def library(fault: type[Terminal]) -> Any:
    """The library. Raises `fault` where it is not installed."""
    try:
        import deltalake
    except ImportError as error:
        raise fault(
            "Delta tables need a library that is not installed", hint="pip install 'rayetl[delta]'"
        ) from error
    return deltalake


def _sentence(error: Exception) -> str:
    """The first line; of a chain of causes, which the library writes below one another, all of them."""
    text = _PAINT.sub("", str(error)).strip()
    if _CAUSE in text:
        text = ": ".join(" ".join(part.split()) for part in text.split(_CAUSE))
    lines = text.splitlines()
    return lines[0].rstrip(".")[:300] if lines else type(error).__name__
