"""Dead letters in Kafka: who may write, answers that are lost, what stands in the way of reading."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from services.base import free_port
from services.certificates import Authority
from services.kafka import USER, Kafka

from rayetl import Pipeline
from rayetl.connectors.base import Epoch
from rayetl.connectors.dead_letters import DEAD_LETTER, LETTERS
from rayetl.connectors.kafka import cluster
from rayetl.connectors.kafka.cluster import Transaction
from rayetl.connectors.kafka.faults import Lost
from rayetl.connectors.kafka.letters import KafkaDeadLetters, TopicLetters
from rayetl.connectors.kafka.session import KafkaSession
from rayetl.errors import CommitConflict, CredentialError, LoadError, Retryable, SourceError
from rayetl.sql.interop import to_polars

EPOCH = Epoch("p", "rejects", "k", "r1")


@pytest.fixture
def store(kafka: Kafka) -> KafkaDeadLetters:
    return KafkaDeadLetters.model_validate(
        {"type": "kafka", "brokers": kafka.brokers, "topic": kafka.topic()}
    )


def reaching(brokers: str, **settings: object) -> KafkaDeadLetters:
    return KafkaDeadLetters.model_validate({"type": "kafka", "brokers": brokers, **settings})


def letters(*, run: str = "r1", record: bytes = b"x", count: int = 3) -> pl.LazyFrame:
    texts = {"pipeline": "p", "run": run, "epoch": "k", "step": "s", "record_format": "csv"}
    return pl.LazyFrame(
        [
            {
                **texts,
                "id": str(n),
                "reasons": [],
                "row": n,
                "record": record,
                "time": datetime(2026, 1, 1, tzinfo=UTC),
            }
            for n in range(count)
        ],
        schema=to_polars(DEAD_LETTER),
    )


def begun(store: KafkaDeadLetters, run: str) -> KafkaSession:
    """A session that has sent all of its letters."""
    dead = store.of("p")
    assert isinstance(dead, TopicLetters)
    session = dead._open(LETTERS, Epoch("p", "rejects", "k", run))
    assert isinstance(session, KafkaSession)
    assert session.committed() is None
    target = session.begin()
    assert target is not None
    assert dead._fill(target, LETTERS, [letters(run=run)]) == 3
    return session


def runs(store: KafkaDeadLetters, kafka: Kafka) -> list[str]:
    """The run of every letter that is there."""
    return [
        pl.Series([value.decode()]).str.json_path_match("$.run")[0]
        for _, value in kafka.messages(store.topic)
    ]


def test_who_was_overtaken_cannot_commit(store: KafkaDeadLetters, kafka: Kafka) -> None:
    first, second = begun(store, "r1"), begun(store, "r2")
    assert second.commit(3).status == "committed"
    with pytest.raises(CommitConflict, match="another run of this pipeline has taken over"):
        first.commit(3)
    assert runs(store, kafka) == ["r2"] * 3
    assert len(kafka.messages(store.epochs)) == 1


def test_an_attempt_that_died_is_undone_by_the_next(store: KafkaDeadLetters, kafka: Kafka) -> None:
    begun(store, "r1")
    store.of("p").write(Epoch("p", "rejects", "k", "r2"), [letters(run="r2")], 3)
    assert runs(store, kafka) == ["r2"] * 3
    assert store.of("p").read().collect().height == 3


@pytest.mark.parametrize("was_done", [True, False])
def test_a_commit_without_an_answer_is_looked_up(
    store: KafkaDeadLetters, kafka: Kafka, monkeypatch: pytest.MonkeyPatch, was_done: bool
) -> None:
    commit: Callable[[Transaction], None] = Transaction.commit

    def unanswered(self: Transaction) -> None:
        if was_done:
            commit(self)
        raise Lost("no answer", endpoint="kafka")

    monkeypatch.setattr(Transaction, "commit", unanswered)
    session = begun(store, "r1")
    if was_done:
        assert session.commit(3).status == "committed"
    else:
        with pytest.raises(Lost, match="no answer"):
            session.commit(3)
    monkeypatch.undo()
    store.of("p").write(EPOCH, [letters()], 3)
    assert runs(store, kafka) == ["r1"] * 3
    assert len(kafka.messages(store.epochs)) == 1


def test_an_open_transaction_of_others_is_waited_for(
    store: KafkaDeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = store.connect()
    store.make_topics(reached)
    other = reached.transaction("other", 60)
    other.begin()
    other.send(store.topic, [("key", "{}")])
    other.flush("sending")
    store.of("p").write(EPOCH, [letters()], 3)
    monkeypatch.setattr(cluster, "WAIT", 1.0)
    with pytest.raises(Retryable, match="cannot be read to its end: a transaction stays open"):
        store.of("p").read().collect()
    other.abort()
    monkeypatch.undo()
    assert store.of("p").read().collect().height == 3


def test_a_topic_of_several_partitions_is_read_whole(store: KafkaDeadLetters, kafka: Kafka) -> None:
    from confluent_kafka.admin import NewTopic

    admin = kafka.admin()
    (made,) = admin.create_topics([NewTopic(store.topic, num_partitions=3)]).values()
    made.result()
    store.of("p").write(EPOCH, [letters(count=50)], 50)
    assert sorted(store.of("p").read().collect()["row"].to_list()) == list(range(50))


def test_what_is_older_than_asked_for_is_not_fetched(store: KafkaDeadLetters, kafka: Kafka) -> None:
    from confluent_kafka import Producer

    store.make_topics(store.connect())
    producer = Producer({"bootstrap.servers": kafka.brokers})
    then, moment = 1_700_000_000_000, datetime(2023, 11, 15, tzinfo=UTC)
    producer.produce(store.topic, "[no letter", "old", timestamp=then)
    producer.flush(10)
    store.of("p").write(EPOCH, [letters()], 3)
    assert store.of("p").read(since=moment).collect().height == 3
    with pytest.raises(SourceError, match="a message that is no letter"):
        store.of("p").read(since=moment - timedelta(days=1)).collect()


def test_a_message_that_is_no_letter_is_told(store: KafkaDeadLetters) -> None:
    reached = store.connect()
    store.make_topics(reached)
    other = reached.transaction("other", 60)
    other.begin()
    other.send(store.topic, [("key", "[no letter")])
    other.commit()
    with pytest.raises(SourceError, match=f"the topic {store.topic} holds a message that is no letter"):
        store.of("p").read().collect()


def test_a_letter_that_is_too_large_is_told_and_none_is_stored(store: KafkaDeadLetters, kafka: Kafka) -> None:
    import os

    frames = [letters(), letters(record=os.urandom(3 << 20), count=1)]
    with pytest.raises(LoadError, match=r"a letter is larger than kafka .* takes") as told:
        store.of("p").write(EPOCH, frames, 4)
    assert "max.message.bytes" in (told.value.hint or "")
    assert kafka.messages(store.topic) == []


def test_without_the_driver_it_is_said_what_to_install(
    store: KafkaDeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(LoadError, match="a driver that is not installed") as told:
        store.of("p").assert_ready(EPOCH)
    assert told.value.hint == "pip install 'rayetl[kafka]'"


def run(here: Path, **store: object) -> None:
    (here / "in.csv").write_text("1\n50\n")
    rule = {"name": "small", "check": "id < 40", "on_failure": "quarantine"}
    config = {
        "name": "p",
        "extract": {"type": "files", "path": str(here / "in.csv"), "schema": "id INT"},
        "transform": [{"id": "checked", "type": "validate", "rules": [rule]}],
        "load": {"type": "files", "path": str(here / "out"), "format": "parquet", "mode": "append"},
        "resilience": {"retry": {"max_attempts": 1}, "dead_letter": {"type": "kafka", **store}},
        "state": str(here / "state"),
    }
    Pipeline.from_dict(config).run()


@pytest.fixture
def bus(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """The credential `bus`."""
    monkeypatch.setenv("RAYETL_CREDENTIAL_BUS__USER", USER)
    monkeypatch.setenv("RAYETL_CREDENTIAL_BUS__PASSWORD", kafka.password)


@pytest.mark.usefixtures("bus")
def test_a_wrong_password_stops_the_run_before_a_row_is_read(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {"brokers": f"127.0.0.1:{kafka.secure}", "tls_ca": str(kafka.authority), "topic": kafka.topic()}
    monkeypatch.setenv("RAYETL_CREDENTIAL_BUS__PASSWORD", "c4n4ry")
    with pytest.raises(CredentialError, match="refuses the credential 'bus'") as told:
        run(tmp_path, credential="bus", **there)
    assert "c4n4ry" not in str(told.value)
    assert told.value.step == "rejects"
    assert not list((tmp_path / "out").glob("part-*"))
    monkeypatch.setenv("RAYETL_CREDENTIAL_BUS__PASSWORD", kafka.password)
    run(tmp_path, credential="bus", **there)
    assert len(kafka.messages(there["topic"])) == 1


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.usefixtures("bus")
def test_a_user_is_let_in_by_every_mechanism_and_with_no_other_password(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch, mechanism: str, encrypted: bool
) -> None:
    there = {"tls_ca": str(kafka.authority)} if encrypted else {}
    port = kafka.secure if encrypted else kafka.closed
    reached = reaching(f"127.0.0.1:{port}", credential="bus", sasl_mechanism=mechanism, **there)
    assert reached.connect().exists("nothing") is False
    monkeypatch.setenv("RAYETL_CREDENTIAL_BUS__PASSWORD", "c4n4ry")
    with pytest.raises(
        CredentialError, match="refuses the credential 'bus': SASL authentication error"
    ) as told:
        reached.connect()
    assert "c4n4ry" not in f"{told.value!r} {told.value}"


UNTRUSTED = {
    "another authority": ("127.0.0.1:{secure}", "other", "was not signed by the authority in .*other.pem"),
    "the system's": ("127.0.0.1:{secure}", None, "was not signed by the authorities of this machine"),
    "expired": ("127.0.0.1:{expired}", "own", "its certificate has expired$"),
    "another name": ("localhost:{secure}", "own", "certificate is not valid for 'localhost'$"),
    "no file": (
        "127.0.0.1:{secure}",
        "/nowhere.pem",
        "`tls_ca` cannot be read from /nowhere.pem: No such file",
    ),
    "no certificate": ("127.0.0.1:{secure}", __file__, "cannot be read from .*: it holds no certificate$"),
}


@pytest.mark.parametrize("case", UNTRUSTED)
@pytest.mark.usefixtures("bus")
def test_what_a_certificate_lacks_is_said_in_a_sentence(kafka: Kafka, tmp_path: Path, case: str) -> None:
    brokers, authority, wanted = UNTRUSTED[case]
    files = {"own": str(kafka.authority), "other": str(Authority(tmp_path, "other").ca)}
    there = {} if authority is None else {"tls_ca": files.get(authority, authority)}
    reached = reaching(brokers.format(**vars(kafka)), tls=True, credential="bus", **there)
    with pytest.raises(CredentialError) as told:
        reached.connect()
    assert re.search(wanted, told.value.message)
    assert kafka.password not in f"{told.value!r} {told.value}"


def test_a_port_that_speaks_no_tls_is_told(kafka: Kafka) -> None:
    with pytest.raises(Retryable, match="in the middle of the TLS handshake"):
        reaching(kafka.brokers, tls_ca=str(kafka.authority)).connect()


def test_a_cluster_that_is_down_stops_the_run_before_a_row_is_read(kafka: Kafka, tmp_path: Path) -> None:
    with pytest.raises(Retryable, match="cannot be reached") as told:
        run(tmp_path, brokers=f"127.0.0.1:{free_port()}")
    assert told.value.step == "rejects"
    assert not list((tmp_path / "out").glob("part-*"))
    topic = kafka.topic()
    run(tmp_path, brokers=kafka.brokers, topic=topic)
    assert len(kafka.messages(topic)) == 1
