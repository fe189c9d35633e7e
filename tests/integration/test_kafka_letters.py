"""Dead letters in Kafka: who may write, answers that are lost, what stands in the way of reading."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from services.base import free_port
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


def test_a_wrong_password_stops_the_run_before_a_row_is_read(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYETL_CREDENTIAL_BUS__USER", USER)
    monkeypatch.setenv("RAYETL_CREDENTIAL_BUS__PASSWORD", "c4n4ry")
    there = {"brokers": f"127.0.0.1:{kafka.closed}", "sasl_mechanism": "PLAIN", "topic": kafka.topic()}
    with pytest.raises(CredentialError, match="refuses the credential 'bus'") as told:
        run(tmp_path, credential="bus", **there)
    assert "c4n4ry" not in str(told.value)
    assert told.value.step == "rejects"
    assert not list((tmp_path / "out").glob("part-*"))
    monkeypatch.setenv("RAYETL_CREDENTIAL_BUS__PASSWORD", kafka.password)
    run(tmp_path, credential="bus", **there)
    assert len(kafka.messages(there["topic"])) == 1


def test_a_cluster_that_is_down_stops_the_run_before_a_row_is_read(kafka: Kafka, tmp_path: Path) -> None:
    with pytest.raises(Retryable, match="cannot be reached") as told:
        run(tmp_path, brokers=f"127.0.0.1:{free_port()}")
    assert told.value.step == "rejects"
    assert not list((tmp_path / "out").glob("part-*"))
    topic = kafka.topic()
    run(tmp_path, brokers=kafka.brokers, topic=topic)
    assert len(kafka.messages(topic)) == 1
