"""Work done ahead in a thread of its own, so that reading goes on while the query works."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


class Stalled(Exception):
    """Nothing was made for longer than was allowed."""


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def ahead(source: Iterator[T], depth: int, seconds: float | None = None) -> Iterator[T]:
    """The items of `source`, of which up to `depth` are made before they are asked for.

    What `source` raises is raised here. Raises Stalled when an item takes longer than `seconds`; its thread
    then is lost until the process ends, since nothing can stop it.
    """
    made: queue.Queue[T | _Failed | None] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def hand_over(item: T | _Failed | None) -> bool:
        while not stop.is_set():
            try:
                made.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            if all(hand_over(item) for item in source):
                hand_over(None)
        except BaseException as error:  # noqa: BLE001 - raised again where the items are taken
            hand_over(_Failed(error))

    threading.Thread(target=work, name="read ahead", daemon=True).start()
    try:
        while (item := made.get(timeout=seconds)) is not None:
            if isinstance(item, _Failed):
                raise item.error
            yield item
    except queue.Empty:
        raise Stalled from None
    finally:
        stop.set()
