"""A small catalog service that speaks Iceberg's REST protocol, over an SQLite catalog."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, NoSuchNamespaceError, NoSuchTableError
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import CommitTableRequest, StagedTable
from pyiceberg.table.sorting import SortOrder


class IcebergRest:
    """The service. `lost` answers of the next commits never arrive: the commit is done, the connection is
    closed. With `token`, only those who send it are served. `tables` are properties of the catalog that say
    where tables lie, by default in the directory, and what opens them. `config` and `storage` are what it hands
    out with a table to those who ask for keys."""

    def __init__(
        self, directory: Path, token: str | None = None, tables: dict[str, Any] | None = None
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        there = {"warehouse": f"file://{directory}", **(tables or {})}
        self.catalog = SqlCatalog("rest", **{**there, "uri": f"sqlite:///{directory}/catalog.db"})
        self.token = token
        self.config: dict[str, str] = {}
        self.storage: list[dict[str, Any]] = []
        self.loads = 0
        self.lost = 0
        self.commits = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.catalog.close()

    def answer(self, method: str, parts: list[str], body: dict[str, Any]) -> dict[str, Any] | None:
        """What a request gets; `None` where its answer is lost."""
        match method, parts:
            case "GET", ["config"]:
                return {"defaults": {}, "overrides": {}}
            case "POST", ["namespaces"]:
                self.catalog.create_namespace_if_not_exists(
                    tuple(body["namespace"]), body.get("properties", {})
                )
                return {"namespace": body["namespace"], "properties": {}}
            case "POST", ["namespaces", namespace, "tables"]:
                return self._staged(namespace, body)
            case "GET", ["namespaces", namespace, "tables", table]:
                self.loads += 1
                found = self.catalog.load_table((namespace, table))
                return self._shown(found.metadata, found.metadata_location)
            case "POST", ["namespaces", namespace, "tables", table]:
                return self._committed((namespace, table), CommitTableRequest.model_validate(body))
        raise NoSuchNamespaceError(f"{method} {parts}")

    def _staged(self, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        assert body["stage-create"]
        made = self.catalog.create_table_transaction(
            (namespace, body["name"]),
            Schema.model_validate(body["schema"]),
            body.get("location"),
            PartitionSpec.model_validate(body["partition-spec"]),
            SortOrder.model_validate(body["write-order"]),
        )
        return self._shown(made.table_metadata, None)

    def _committed(self, name: tuple[str, str], request: CommitTableRequest) -> dict[str, Any] | None:
        try:
            table = self.catalog.load_table(name)
        except NoSuchTableError:
            table = StagedTable(name, None, "", None, self.catalog)  # type: ignore[arg-type]
        done = self.catalog.commit_table(table, request.requirements, request.updates)
        self.commits += 1
        if self.lost:
            self.lost -= 1
            return None
        return self._shown(done.metadata, done.metadata_location)

    def _shown(self, metadata: Any, place: str | None) -> dict[str, Any]:
        return {
            "metadata": json.loads(metadata.model_dump_json()),
            "metadata-location": place,
            "config": self.config,
            "storage-credentials": self.storage,
        }


def _handler(service: IcebergRest) -> type[BaseHTTPRequestHandler]:
    codes = {NoSuchTableError: 404, NoSuchNamespaceError: 404, CommitFailedException: 409}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            if service.token is not None and self.headers.get("Authorization") != f"Bearer {service.token}":
                self._send(401, {"error": {"message": "who are you", "type": "NotAuthorized", "code": 401}})
                return
            parts = [unquote(part) for part in urlsplit(self.path).path.split("/")[2:]]
            try:
                found = service.answer(self.command, parts, body)
            except tuple(codes) as error:
                code = codes[type(error)]
                said = {"message": str(error), "type": type(error).__name__, "code": code}
                self._send(code, {"error": said})
                return
            if found is None:
                self.close_connection = True
                self.connection.shutdown(2)
            else:
                self._send(200, found)

        do_GET = do_POST = _serve

        def _send(self, code: int, answer: dict[str, Any]) -> None:
            data = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Nothing: tests are quiet."""

    return Handler
