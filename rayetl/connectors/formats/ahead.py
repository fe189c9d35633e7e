"""Work done ahead in threads of its own, so that reading goes on while the query works."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
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


def spread(work: Callable[[S], T], source: Iterator[S], threads: int) -> Iterator[T]:
    """What `work` makes of the items of `source`, in their order, by several threads at once.

    One item more than there are threads is on its way. What `work` raises is raised in the place of its item.
    """
    under_way: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads, "read") as pool:
        try:
            for item in source:
                under_way.append(pool.submit(work, item))
                if len(under_way) > threads:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
