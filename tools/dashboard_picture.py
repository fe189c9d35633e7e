"""Take the pictures of Ray's dashboard that the documentation shows.

    python tools/dashboard_picture.py docs/images

Starts a cluster of its own, sends it a run of many splits as a job, and looks at it with a headless Chromium
(Debian's package `chromium`) while it works. The cluster and the browser are ended afterwards.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
ROWS, SPLITS = 2_000_000, 400
BROWSER = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def write_job(folder: Path) -> list[str]:
    """A pipeline whose splits take a while; returns the command that runs it."""
    rows = pl.int_range(ROWS, eager=True).alias("id").to_frame()
    rows.with_columns(v=pl.format("text {}", "id")).write_parquet(
        folder / "in.parquet", row_group_size=ROWS // SPLITS
    )
    hashes = ", ".join(f"sha2(concat(v, '{n}'), 512) AS h{n}" for n in range(40))
    config = {
        "name": "flight_delays",
        "extract": {"type": "files", "path": str(folder / "in.parquet")},
        "transform": [{"type": "sql", "query": f"SELECT id, {hashes} FROM source"}],
        "load": {"id": "daily", "type": "files", "path": str(folder / "out"), "format": "parquet"},
        "resilience": {"dead_letter": {"path": str(folder / "letters")}},
        "state": str(folder / "state"),
    }
    (folder / "job").mkdir()
    (folder / "job" / "flights.json").write_text(json.dumps(config))
    return ["rayetl", "run", "flights.json", "--split-size", "1"]


class Dashboard:
    """The dashboard as the token's holder sees it, for a browser that does not know the token."""

    def __init__(self, place: str, token: str) -> None:
        def fetch(path: str) -> Any:
            request = urllib.request.Request(place + path, headers={"Authorization": f"Bearer {token}"})
            return urllib.request.urlopen(request, timeout=20)

        class Pass(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                try:
                    with fetch(self.path) as answer:
                        status, kind, body = answer.status, answer.headers["Content-Type"], answer.read()
                except OSError as error:
                    status, kind, body = getattr(error, "code", 502), "text/plain", str(error).encode()
                self.send_response(status)
                self.send_header("Content-Type", kind or "text/plain")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._fetch = fetch
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Pass)
        self.place = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def ask(self, path: str) -> Any:
        with self._fetch(path) as answer:
            return json.load(answer)

    def picture(self, page: str, file: Path, height: int) -> None:
        with tempfile.TemporaryDirectory() as profile:
            shot = [f"--screenshot={file}", f"--window-size=1400,{height}", "--virtual-time-budget=15000"]
            subprocess.run(
                ["chromium", *BROWSER, f"--user-data-dir={profile}", *shot, f"{self.place}/#{page}"],
                check=True,
                capture_output=True,
                timeout=120,
            )


def until(what: str, found: Any, seconds: float = 180) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if seen := found():
                return seen
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} was not seen in {seconds:.0f} s")
        time.sleep(0.2)


def take(folder: Path, images: Path) -> None:
    token = secrets.token_hex(32)
    (folder / "token").write_text(token)
    (folder / "token").chmod(0o600)
    web, head = free_port(), free_port()
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    words = [BIN / "ray", "start", "--head", "--block", "--num-cpus=2", "--object-store-memory=100000000"]
    ports = [f"--port={head}", f"--dashboard-port={web}", f"--dashboard-agent-listen-port={free_port()}"]
    cluster = subprocess.Popen([*words, *ports], env=environment, stdout=subprocess.DEVNULL)
    try:
        dashboard = Dashboard(f"http://127.0.0.1:{web}", token)
        until("the dashboard", lambda: dashboard.ask("/api/version"))
        send = [BIN / "ray", "job", "submit", "--no-wait", "--address", f"http://127.0.0.1:{web}"]
        command = [*send, "--working-dir", folder / "job", "--", *write_job(folder)]
        until("a job", lambda: not subprocess.run(command, env=environment, capture_output=True).returncode)
        until("a third of the splits", lambda: len([*folder.glob("state/parked/*/*/*.json")]) > SPLITS // 3)
        (job,) = [each["job_id"] for each in dashboard.ask("/api/jobs/") if each["job_id"]]
        images.mkdir(parents=True, exist_ok=True)
        dashboard.picture(f"/jobs/{job}", images / "ray-job.png", 900)
        dashboard.picture("/actors", images / "ray-actors.png", 700)
        for name in ("ray-job.png", "ray-actors.png"):
            print(f"{images / name}: {(images / name).stat().st_size} bytes")
    finally:
        cluster.send_signal(signal.SIGTERM)
        cluster.wait(30)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        take(Path(place), Path(sys.argv[1]))
