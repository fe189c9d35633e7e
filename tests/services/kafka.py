"""A Kafka broker of the test run's own (KRaft, one node), and fresh topics in it."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.base import Service, child, data_directory, free_port, install
from services.certificates import Authority

OWNER = "root"
VERSION = "3.9.1"
USER = "etl"
_API_VERSIONS = 18

_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,OPEN:PLAINTEXT,CLOSED:SASL_PLAINTEXT,"
    "SECURE:SASL_SSL,EXPIRED:SSL",
    "inter.broker.listener.name": "OPEN",
    "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
    "ssl.keystore.type": "PEM",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    "auto.create.topics.enable": "false",
    "log.cleaner.enable": "false",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    # After a crash the controller waits this long for the broker that it knew before.
    "broker.heartbeat.interval.ms": "200",
    "broker.session.timeout.ms": "1000",
}


class Kafka(Service):
    """One broker with its data in a temporary directory, made at the first `start`. `port` is open to all of
    this machine, `closed` asks for user and password, `secure` does so behind TLS with a certificate that
    `authority` signed, and what `expired` shows is of yesterday."""

    name = "kafka"

    def __init__(self) -> None:
        self.port, self.closed, self.secure, self.expired, self._controller = (free_port() for _ in range(5))
        self.password = secrets.token_urlsafe(12)
        self._directory: Path | None = None
        self._authority: Authority | None = None
        self._process: subprocess.Popen | None = None
        self._count = itertools.count(1)

    @property
    def brokers(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        if self._directory is None:
            self._directory = self._initialised()
        self._process = child(_java("kafka.Kafka", self._properties), OWNER, self._log, signal.SIGKILL)
        self._wait()

    def stop(self) -> None:
        self._end(signal.SIGTERM)
        if self._directory is not None:
            shutil.rmtree(self._directory)
            self._directory = None

    def crash(self) -> None:
        """Kill it: what it has acknowledged is in its files, and it recovers at the start."""
        self._end(signal.SIGKILL)

    def environment(self) -> Mapping[str, str]:
        return {"KAFKA_BROKERS": self.brokers}

    @property
    def authority(self) -> Path:
        """The file of the authority of its certificates."""
        assert self._authority is not None
        return self._authority.ca

    def topic(self) -> str:
        """A name that no other test has; the topic is not made."""
        return f"test-{os.getpid()}-{next(self._count)}"

    def admin(self) -> Any:
        """An admin client of the driver."""
        from confluent_kafka.admin import AdminClient

        return AdminClient({"bootstrap.servers": self.brokers})

    def messages(self, topic: str) -> list[tuple[bytes, bytes]]:
        """Key and value of every committed message of a topic; nothing where there is none. None of this goes
        through rayetl."""
        from confluent_kafka import Consumer, KafkaError, TopicPartition

        if topic not in self.admin().list_topics(timeout=10).topics:
            return []
        consumer = Consumer(
            {
                "bootstrap.servers": self.brokers,
                "group.id": "judge",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 20,
            }
        )
        consumer.assign([TopicPartition(topic, 0, 0)])
        found = []
        while True:
            message = consumer.poll(10)
            assert message is not None, f"{topic} does not end"
            if message.error() is not None:
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                break
            found.append((message.key(), message.value()))
        consumer.close()
        return found

    @property
    def _properties(self) -> Path:
        assert self._directory is not None
        return self._directory / "server.properties"

    @property
    def _log(self) -> Path:
        assert self._directory is not None
        return self._directory / "log"

    def _initialised(self) -> Path:
        if not _jars().is_dir():
            install()
        directory = data_directory(self.name, OWNER)
        ports = {"OPEN": self.port, "CLOSED": self.closed, "SECURE": self.secure, "EXPIRED": self.expired}
        listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())
        settings = {
            **_SETTINGS,
            "log.dirs": str(directory / "data"),
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller}",
            "listeners": f"{listeners},CONTROLLER://127.0.0.1:{self._controller}",
            "advertised.listeners": listeners,
            **self._logins(),
            **self._certificates(directory),
        }
        path = directory / "server.properties"
        path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        path.chmod(0o600)
        users = (
            word
            for hashed in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for word in ("--add-scram", f"{hashed}=[name={USER},password={self.password}]")
        )
        format_it = _java("kafka.tools.StorageTool", "format", "-t", str(uuid.uuid4()), "-c", path, *users)
        subprocess.run(format_it, check=True, capture_output=True)
        return directory

    def _logins(self) -> dict[str, str]:
        """The ways to prove who one is, at the listeners that ask."""
        security = "org.apache.kafka.common.security"
        modules = {
            "plain": f'{security}.plain.PlainLoginModule required user_{USER}="{self.password}";',
            "scram-sha-256": f"{security}.scram.ScramLoginModule required;",
            "scram-sha-512": f"{security}.scram.ScramLoginModule required;",
        }
        return {
            f"listener.name.{listener}.{mechanism}.sasl.jaas.config": module
            for listener in ("closed", "secure")
            for mechanism, module in modules.items()
        }

    def _certificates(self, directory: Path) -> dict[str, str]:
        """The certificates that the listeners with TLS show."""
        self._authority = Authority(directory)
        return {
            f"listener.name.{listener}.ssl.keystore.location": str(
                self._authority.certificate(listener, days=days)
            )
            for listener, days in (("secure", 1), ("expired", -1))
        }

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + 90
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Kafka did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        """Whether it answers the request for the versions of its protocol, which needs no driver."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as asking:
                asking.sendall(struct.pack(">ihhih", 10, _API_VERSIONS, 0, 1, -1))
                return bool(asking.recv(4))
        except OSError:
            return False

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None


def _jars() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "rayetl" / f"kafka-{VERSION}"


def _java(*words: str | Path) -> list[str]:
    return ["java", "-Xmx384m", "-cp", f"{_jars()}/*", *map(str, words)]
