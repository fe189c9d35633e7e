"""A Kafka cluster as the stores use it: topics are made, read whole, and written in transactions."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar

from rayetl.connectors.kafka.faults import Refused, fault
from rayetl.errors import LoadError, Retryable, RunError
from rayetl.secrets import Credential

T = TypeVar("T")

PATIENCE = 20.0
"""Seconds that the cluster has for an answer."""

WAIT = 30.0
"""Seconds that a reader waits for transactions that are open when it begins."""

_BATCH = 8_192
"""Messages that are in hand at a time."""

_MOMENT = 0.05
"""Seconds that a batch may take to fill up."""

_SILENT = logging.getLogger("librdkafka")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False

_DOWN = ("_ALL_BROKERS_DOWN", "_AUTHENTICATION", "_SSL", "_RESOLVE")
"""What the driver tells beside its calls, and tries on nevertheless."""

_TELLING = ("_ALL_BROKERS_DOWN", "_TRANSPORT", *_DOWN[1:])
"""The same and what one broker of several may do, by how much it says."""

__all__ = ["Cluster", "Refused", "Transaction"]


class Cluster:
    """A cluster that has answered. `endpoint` names it in errors."""

    def __init__(self, settings: Mapping[str, Any], endpoint: str, credential: Credential | None) -> None:
        self.endpoint = endpoint
        # What the driver would print is in the errors that are raised.
        self._settings, self._credential = {**settings, "logger": _SILENT}, credential
        self._told: list[Any] = []
        self._admin = _driver("admin").AdminClient({**self._settings, "error_cb": self._told.append})
        self._wait_for_answer()

    def _wait_for_answer(self) -> None:
        deadline = time.monotonic() + PATIENCE
        kafka = _driver()
        while True:
            try:
                self._admin.list_topics(timeout=0.5)
                return
            except kafka.KafkaException as error:
                self._admin.poll(0)
                known = [each for each in self._told if each.name() in _TELLING]
                if any(each.name() in _DOWN for each in known) or time.monotonic() > deadline:
                    # Of several the one that says most: the driver also tells that it has no broker left.
                    worst = max(known, key=lambda each: _TELLING.index(each.name()), default=error.args[0])
                    raise self.fault(worst, "connecting") from None

    def fault(self, error: Any, doing: str) -> RunError:
        """A `KafkaError` of the driver as an error of ours, without the secrets of the credential."""
        who = f"the credential {self._credential.name!r}" if self._credential else "a user without a name"
        found: Any = fault(error, self.endpoint, doing, who, self._settings.get("ssl.ca.location"))
        if self._credential is not None:
            found.message = self._credential.scrub(found.message)
            found.args = (found.message,)
        return found  # type: ignore[no-any-return]

    def call(self, doing: str, work: Callable[[], T]) -> T:
        """What `work` gives; what the driver raises is raised as an error of ours."""
        try:
            return work()
        except _driver().KafkaException as error:
            raise self.fault(error.args[0], doing) from None

    # Topics

    def exists(self, topic: str) -> bool:
        """Whether a topic is there."""
        found = self.call(f"looking for {topic}", lambda: self._admin.list_topics(timeout=PATIENCE))
        return topic in found.topics

    def make(self, topic: str, config: Mapping[str, str]) -> None:
        """Make a topic of one partition if it is not there, and wait until it is."""
        if self.exists(topic):
            return
        doing = f"making the topic {topic}"
        wanted = _driver("admin").NewTopic(topic, num_partitions=1, config=dict(config))
        (made,) = self._admin.create_topics([wanted], request_timeout=PATIENCE).values()
        try:
            self.call(doing, made.result)
        except LoadError:
            # Another run may have been faster.
            if not self.exists(topic):
                raise
        deadline = time.monotonic() + PATIENCE
        while not self._is_led(topic):
            if time.monotonic() > deadline:
                raise Retryable(f"{doing} takes {self.endpoint} too long", endpoint=self.endpoint)
            time.sleep(0.05)

    def _is_led(self, topic: str) -> bool:
        found = self.call(f"looking for {topic}", lambda: self._admin.list_topics(topic, timeout=PATIENCE))
        partitions = found.topics[topic].partitions.values()
        return bool(partitions) and all(each.leader >= 0 for each in partitions)

    # Reading

    def read(self, topic: str, since: datetime | None = None) -> Iterator[list[tuple[bytes, bytes]]]:
        """Key and value of all messages that were committed to a topic before this call, in batches; none
        where there is no topic. What was committed behind a transaction that is still open is waited for.
        With `since`, each partition is read from its first message of that moment on.

        Raises `Retryable` where that takes longer than `WAIT`.
        """
        if not self.exists(topic):
            return
        kafka, doing = _driver(), f"reading {topic}"
        ends = self.call(doing, lambda: self._ends(topic, since))
        consumer = self._consumer("read_committed")
        try:
            begin = [kafka.TopicPartition(topic, each, low) for each, (low, _) in ends.items()]
            consumer.assign(begin)
            left = {each: high for each, (low, high) in ends.items() if high > low}
            deadline = time.monotonic() + WAIT
            while left:
                found = []
                for message in self.call(doing, lambda: consumer.consume(_BATCH, timeout=_MOMENT)):
                    self._note(message, left, doing)
                    if message.error() is None and message.value() is not None:
                        found.append((message.key() or b"", message.value()))
                if found:
                    yield found
                elif left and time.monotonic() > deadline:
                    raise Retryable(
                        f"{topic} cannot be read to its end: a transaction stays open",
                        hint="is another run writing? what one left open that died, the next run of its "
                        "pipeline undoes at once, and the cluster within minutes",
                        endpoint=self.endpoint,
                    )
        finally:
            consumer.close()

    def _note(self, message: Any, left: dict[int, int], doing: str) -> None:
        """Take out of `left` a partition whose end is reached by a message, or by word of its end."""
        error, partition = message.error(), message.partition()
        if error is not None and error.name() != "_PARTITION_EOF":
            raise self.fault(error, doing)
        reached = message.offset() + (error is None)
        if reached >= left.get(partition, reached + 1):
            del left[partition]

    def _ends(self, topic: str, since: datetime | None) -> dict[int, tuple[int, int]]:
        """First offset and the one after the last of each partition, open transactions included."""
        kafka, asking = _driver(), self._consumer("read_uncommitted")
        try:
            partitions = self._admin.list_topics(topic, timeout=PATIENCE).topics[topic].partitions
            whole = {
                each: asking.get_watermark_offsets(kafka.TopicPartition(topic, each), timeout=PATIENCE)
                for each in partitions
            }
            if since is None:
                return whole
            moment = int(since.timestamp() * 1000)
            wanted = [kafka.TopicPartition(topic, each, moment) for each in partitions]
            later = asking.offsets_for_times(wanted, timeout=PATIENCE)
            # The offset is -1 where no message is as late.
            starts = {found.partition: found.offset for found in later if found.offset >= 0}
            return {each: (starts.get(each, high), high) for each, (_, high) in whole.items()}
        finally:
            asking.close()

    def _consumer(self, isolation: str) -> Any:
        return _driver().Consumer(
            {
                **self._settings,
                # The driver wants one; as nothing is subscribed or committed, no group comes to be.
                "group.id": "rayetl",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "isolation.level": isolation,
                # The end of a topic is told by an answer without messages, which a broker holds back so long
                # because some may come.
                "fetch.wait.max.ms": 20,
            }
        )

    # Writing

    def transaction(self, name: str, seconds: int) -> Transaction:
        """The right to write under a name, taken from whoever had it: what they did not commit is undone. The
        cluster ends a transaction that is longer than so many seconds."""
        producer = _driver().Producer(
            {
                **self._settings,
                "transactional.id": name,
                "transaction.timeout.ms": seconds * 1000,
                "acks": "all",
                "compression.type": "zstd",
                "message.max.bytes": 100 << 20,
            }
        )
        self.call("taking the fence", lambda: producer.init_transactions(PATIENCE))
        return Transaction(self, producer)


class Transaction:
    """Messages that are visible all together or not at all."""

    def __init__(self, cluster: Cluster, producer: Any) -> None:
        self._cluster = cluster
        self._producer = producer
        self._open = False
        self._refused: Any = None

    def begin(self) -> None:
        """Begin."""
        self._cluster.call("beginning a transaction", self._producer.begin_transaction)
        self._open = True

    def send(self, topic: str, messages: Iterable[tuple[str, str]]) -> None:
        """Send messages of a key and a value, perhaps later."""
        producer, delivered = self._producer, self._delivered

        def put() -> None:
            for key, value in messages:
                while True:
                    try:
                        producer.produce(topic, value, key, on_delivery=delivered)
                        break
                    except BufferError:
                        producer.poll(0.1)
            producer.poll(0)

        self._served(f"sending to {topic}", put)

    def _delivered(self, error: Any, message: Any) -> None:
        del message
        self._refused = self._refused or error

    def _served(self, doing: str, work: Callable[[], T]) -> T:
        """What `work` gives, during which the driver may tell what became of messages."""
        try:
            return self._cluster.call(doing, work)
        except SystemError:
            # What ends a producer gets lost in the driver among the answers to its messages.
            self._ask_for_the_end(doing)
            raise

    def _ask_for_the_end(self, doing: str) -> None:
        """Raise what has ended the producer, if that is so."""
        self._open = False
        self._cluster.call(doing, lambda: self._producer.abort_transaction(PATIENCE))

    def flush(self, doing: str) -> None:
        """Wait until the cluster has all that was sent. Raises what it has against a message."""
        left = self._served(doing, lambda: self._producer.flush(PATIENCE))
        if self._refused is not None:
            if self._refused.name() == "_PURGE_QUEUE":
                self._ask_for_the_end(doing)
            raise self._cluster.fault(self._refused, doing)
        if left:
            raise Retryable(
                f"{self._cluster.endpoint} did not acknowledge {left} messages in time while {doing}",
                hint="it is tried again",
                endpoint=self._cluster.endpoint,
            )

    def commit(self) -> None:
        """Make all of it visible. Raises `Lost` where nobody knows whether it was."""
        self._open = False
        self._cluster.call("committing", lambda: self._producer.commit_transaction(PATIENCE))

    def abort(self) -> None:
        """Undo what was sent. Where the cluster cannot be asked, it does so itself in time."""
        if self._open:
            self._open = False
            try:
                self._producer.abort_transaction(PATIENCE / 4)
            except _driver().KafkaException:
                # Whoever takes the right next has it undone.
                return


def _driver(module: str = "") -> Any:
    try:
        import confluent_kafka
        import confluent_kafka.admin
    except ImportError as error:
        raise LoadError(
            "Kafka needs a driver that is not installed", hint="pip install 'rayetl[kafka]'"
        ) from error
    return confluent_kafka.admin if module else confluent_kafka
