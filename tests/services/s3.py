"""An S3 service with accounts, keys and roles, in this process; and a place where its answers can be broken.

It is moto behind a lock: conditional requests of several clients are judged one after the other, as S3 does.
Buckets of one account are closed to the others, and keys are verified.
"""

from __future__ import annotations

import itertools
import os
import re
import socket
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from services.base import Service

_KEY = re.compile(r"Credential=([^/]+)/")


@dataclass
class Fault:
    """What happens to the first `times` requests that match: an error in place of an answer, before the
    service sees the request, or `after` it has done what was asked. The status 0 breaks the connection off,
    in the middle of the body if there is one."""

    matches: Callable[[str, str, str], bool]
    """Asked with method, path and query."""
    status: int
    code: str = "InternalError"
    times: int = 1
    after: bool = False
    since: Fault | None = None
    """It strikes only when this one has."""
    struck: int = 0


@dataclass
class Account:
    """One account of the service: its keys, and buckets that are made with them."""

    server: S3Server
    access_key_id: str
    secret_access_key: str
    number: str
    _clients: dict[str, Any] = field(default_factory=dict)

    @property
    def fields(self) -> dict[str, str]:
        """The fields of a credential."""
        return {"access_key_id": self.access_key_id, "secret_access_key": self.secret_access_key}

    @property
    def environment(self) -> tuple[tuple[str, str], ...]:
        """The variables that make them the credential `lake` of another process."""
        return tuple(
            (f"RAYETL_CREDENTIAL_LAKE__{name.upper()}", value) for name, value in self.fields.items()
        )

    def client(self, service: str = "s3") -> Any:
        """A client of boto3, which tests look at the service with."""
        found = self._clients.get(service)
        if found is None:
            found = self._clients[service] = self._client(service)
        return found

    def _client(self, service: str) -> Any:
        import boto3

        return boto3.Session(self.access_key_id, self.secret_access_key, region_name="us-east-1").client(
            service, endpoint_url=self.server.endpoint
        )

    def bucket(self) -> Bucket:
        """A new bucket."""
        name = f"b-{uuid.uuid4().hex[:12]}"
        client = self.client()
        client.create_bucket(Bucket=name)
        return Bucket(name, client)


@dataclass
class Bucket:
    """A bucket as an outsider sees it: none of this goes through rayetl."""

    name: str
    client: Any

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    def put(self, key: str, body: bytes | str) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=body)

    def get(self, key: str) -> bytes:
        found: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return found

    def keys(self, prefix: str = "", hidden: bool = False) -> list[str]:
        """The keys below a prefix, by default those that readers do not pass over."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        every = [found["Key"] for page in pages for found in page.get("Contents", ())]
        return [key for key in every if hidden or not any(part[:1] in "._" for part in key.split("/"))]

    def tags(self, prefix: str) -> dict[str, str]:
        """The tag of what is at each key below a prefix, hidden ones too."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return {found["Key"]: found["ETag"] for page in pages for found in page.get("Contents", ())}

    def uploads(self) -> list[str]:
        """The keys of uploads that are not completed."""
        found = self.client.list_multipart_uploads(Bucket=self.name)
        return [upload["Key"] for upload in found.get("Uploads", ())]


class S3Server(Service):
    """Listens on a loopback port; `requests` are the method and path of all that was asked."""

    name = "s3"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(111111111111)
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.revoked: set[str] = set()
        self.port = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        os.environ["MOTO_S3_ALLOW_CROSSACCOUNT_ACCESS"] = "false"
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            protocol_version = "HTTP/1.1"

            def log(self, *_: object) -> None:
                pass

        class Dispatcher(DomainDispatcherApplication):
            # It goes through the directories of all services for each request, which takes a third of its time.
            get_backend_for_host = cache(DomainDispatcherApplication.get_backend_for_host)

        self._app = Dispatcher(create_backend_app)
        self._server = make_server("127.0.0.1", self.port, self._answer, threaded=True, request_handler=Quiet)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def account(self) -> Account:
        """A new account with keys of its own."""
        number = str(next(self._numbers))
        role = f"arn:aws:iam::{number}:role/founder"
        root = Account(self, "AKIAROOTROOTROOTROOT", "root", "123456789012")
        found = root.client("sts").assume_role(RoleArn=role, RoleSessionName="found")["Credentials"]
        founder = Account(self, found["AccessKeyId"], found["SecretAccessKey"], number)
        made = founder.client("iam")
        made.create_user(UserName="etl")
        key = made.create_access_key(UserName="etl")["AccessKey"]
        return Account(self, key["AccessKeyId"], key["SecretAccessKey"], number)

    def break_down(self, method: str, part: str = "", **how: Any) -> Fault:
        """Let requests of `method` whose path or query contains `part` fail; see `Fault`."""
        fault = Fault(lambda verb, path, query: verb == method and part in f"{path}?{query}", **how)
        self.faults.append(fault)
        return fault

    @contextmanager
    def ignoring_conditions(self) -> Iterator[None]:
        """As a service that takes a conditional request for a plain one."""
        serve = self._app

        def ignorant(environ: dict[str, Any], start: Any) -> Any:
            environ.pop("HTTP_IF_NONE_MATCH", None)
            return serve(environ, start)

        self._app = ignorant
        try:
            yield
        finally:
            self._app = serve

    def mend(self) -> None:
        """No more faults, and all keys are good again."""
        self.faults.clear()
        self.revoked.clear()

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path, query = (environ[name] for name in ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING"))
        length = int(environ.get("CONTENT_LENGTH") or 0)
        with self._lock:
            self.requests.append(f"{method} {path}?{query}")
            fault = next((each for each in self.faults if self._strikes(each, method, path, query)), None)
            key = _KEY.search(environ.get("HTTP_AUTHORIZATION", ""))
            if key is not None and key[1] in self.revoked:
                environ["wsgi.input"].read(length)
                return _error(environ, start, 403, "InvalidAccessKeyId")
            if fault is not None and not fault.after:
                environ["wsgi.input"].read(length)
                return self._failed(fault, environ, start, b"")
            if fault is not None:
                body = b"".join(self._app(environ, lambda *_: None))
                return self._failed(fault, environ, start, body)
            return self._served(environ, start)

    def _served(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """What moto answers; where it stumbles over an upload that is gone, what S3 says then."""
        try:
            return list(self._app(environ, start))
        except KeyError:
            if "uploadId=" not in environ["QUERY_STRING"]:
                raise
            return _error(environ, start, 404, "NoSuchUpload")

    def _strikes(self, fault: Fault, method: str, path: str, query: str) -> bool:
        if fault.since is not None and not fault.since.struck:
            return False
        if fault.struck >= fault.times or not fault.matches(method, path, query):
            return False
        fault.struck += 1
        return True

    def _failed(self, fault: Fault, environ: dict[str, Any], start: Any, body: bytes) -> Iterable[bytes]:
        if fault.status:
            return _error(environ, start, fault.status, fault.code)
        connection: socket.socket = environ["werkzeug.socket"]
        if body:
            head = f"HTTP/1.1 206 Partial Content\r\nETag: {self._tag(environ)}\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body[: len(body) // 2])
        connection.shutdown(socket.SHUT_RDWR)
        return _error(environ, start, 500, "InternalError")

    def _tag(self, environ: dict[str, Any]) -> str:
        return str(environ.get("HTTP_IF_MATCH", ""))

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self) -> Mapping[str, str]:
        return {"AWS_ENDPOINT_URL": self.endpoint, "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}


def keep(monkeypatch: Any, name: str, **fields: str) -> None:
    """Put fields of a credential into the environment of a test."""
    for field_name, value in fields.items():
        monkeypatch.setenv(f"RAYETL_CREDENTIAL_{name.upper()}__{field_name.upper()}", value)


def login_again() -> None:
    """Forget the clients of this process, which have looked their keys up."""
    from rayetl.connectors.s3 import account

    account._CLIENTS.clear()


def _error(environ: dict[str, Any], start: Callable[..., Any], status: int, code: str) -> Iterable[bytes]:
    text = f"<Error><Code>{code}</Code><Message>no</Message></Error>"
    is_role = (environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"]) == ("POST", "/", "")
    body = (f"<ErrorResponse>{text}</ErrorResponse>" if is_role else text).encode()
    start(f"{status} {code}", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]
