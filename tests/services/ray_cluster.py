"""A Ray cluster of two processors that this process is connected to; only what was started here is ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ray_cluster() -> Iterator[str]:
    """Start it; gives its address. Idle, its processes still take a thirtieth of a processor."""
    import ray

    from rayetl.cluster.session import lean

    with lean():
        context = ray.init(
            address="local",
            num_cpus=2,
            object_store_memory=100_000_000,
            log_to_driver=False,
            logging_level="error",
            namespace="rayetl",
            # Else processes tell their metrics every ten seconds, which tests would wait for.
            _system_config={"metrics_report_interval_ms": 2000},
        )
    try:
        yield context.address_info["gcs_address"]
    finally:
        ray.shutdown()
