"""A stand-in for HashiCorp Vault, whose own server is not in any package index: the few documented endpoints of
the key/value engine, version 2, and of AppRole, with Vault's status codes and bodies."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

TOKEN, ROLE, SECRET_ID = "hvs.root-c4n4ry-token", "role-1", "c4n4ry-secret-id"


@dataclass
class HashicorpVault:
    """Serves until the `with` block ends. `secrets` are by path below the mount; `None` is a deleted version."""

    secrets: dict[str, Mapping[str, Any] | None] = field(default_factory=dict)
    mount: str = "secret"
    namespace: str | None = None
    secret_ids: set[str] = field(default_factory=lambda: {SECRET_ID})
    tokens: set[str] = field(default_factory=lambda: {TOKEN})
    lease: int = 3600
    status: int | None = None
    hang: threading.Event | None = None
    certificate: Path | None = None
    asked: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # clients hang up in the tests of timeouts and TLS
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.hang:
            self.hang.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        """Status and body, as Vault's documentation says."""
        self.asked.append(f"{method} {path}")
        if self.hang:
            self.hang.wait(30)
        if self.status is not None:
            return self.status, {"errors": ["Vault is sealed" if self.status == 503 else "c4n4ry"]}
        if self.namespace and headers.get("X-Vault-Namespace") != self.namespace:
            return 404, {"errors": []}
        if (method, path) == ("POST", "/v1/auth/approle/login"):
            return self._login(json.loads(body))
        if headers.get("X-Vault-Token") not in self.tokens:
            return 403, {"errors": ["2 errors occurred: permission denied, invalid token"]}
        return self._read(path.removeprefix(f"/v1/{self.mount}/data/"))

    def _login(self, given: Mapping[str, str]) -> tuple[int, Any]:
        if given.get("role_id") != ROLE or given.get("secret_id") not in self.secret_ids:
            return 400, {"errors": ["invalid role or secret ID"]}
        token = f"hvs.c4n4ry-{time.monotonic_ns()}"
        self.tokens.add(token)
        return 200, {"auth": {"client_token": token, "lease_duration": self.lease, "renewable": True}}

    def _read(self, name: str) -> tuple[int, Any]:
        if name not in self.secrets:
            return 404, {"errors": []}
        metadata = {"version": 1, "destroyed": False, "deletion_time": ""}
        if self.secrets[name] is None:
            metadata["deletion_time"] = "2026-11-01T00:00:00Z"
            return 404, {"data": {"data": None, "metadata": metadata}}
        return 200, {"data": {"data": self.secrets[name], "metadata": metadata}}


def _handler(vault: HashicorpVault) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply("GET", b"")

        def do_POST(self) -> None:
            self._reply("POST", self.rfile.read(int(self.headers["Content-Length"])))

        def _reply(self, method: str, body: bytes) -> None:
            status, answer = vault.answer(method, self.path, self.headers, body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            if status == 307:
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
