"""The settings a Spark session on Ray is started with. Every one shows in process arguments: no secrets."""

from __future__ import annotations

from collections.abc import Mapping

from rayetl.config.engines import SparkSettings

MARK = "rayetl.session"
"""Java property that marks the JVMs of one session, so that none of another's is ever ended."""

_OPENED = (
    "java.lang java.lang.invoke java.lang.reflect java.io java.net java.nio java.math java.text java.util "
    "java.util.concurrent java.util.concurrent.atomic sun.nio.ch sun.nio.cs sun.security.action "
    "sun.util.calendar"
)
"""Packages that Spark and RayDP reach into, which Java 17 closes: without them the app master dies at the
first exchange of data."""

STACK = "32m"
"""Of each thread. Spark goes down a plan by recursion, and a few hundred steps are too deep for Java's one
megabyte. Memory is taken only as far down as a thread goes."""

_FIXED: Mapping[str, str] = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.dynamicAllocation.enabled": "false",
}
_DEFAULTS: Mapping[str, str] = {
    "spark.sql.adaptive.enabled": "true",
    "spark.sql.adaptive.coalescePartitions.enabled": "true",
    "spark.sql.adaptive.skewJoin.enabled": "true",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.task.maxFailures": "4",
}


def session_conf(settings: SparkSettings, mark: str, *, one_machine: bool) -> dict[str, str]:
    """The whole conf of a session for `init_spark`, apart from the size of its executors.

    `one_machine`: everything of it listens on the loopback interface only.
    """
    options = " ".join(
        [
            "-XX:+IgnoreUnrecognizedVMOptions",
            "-XX:-HeapDumpOnOutOfMemoryError",
            f"-Xss{STACK}",
            f"-D{MARK}={mark}",
            *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED.split()),
        ]
    )
    java = (
        "spark.driver.extraJavaOptions",
        "spark.executor.extraJavaOptions",
        "spark.ray.raydp_app_master.extraJavaOptions",
    )
    fixed = {key: value for key, value in _FIXED.items() if one_machine or "driver." not in key}
    chosen = {key: _spelled(value) for key, value in settings.conf.items()}
    threshold = settings.broadcast_below or -1
    fixed["spark.sql.autoBroadcastJoinThreshold"] = str(threshold)
    return {**_DEFAULTS, **chosen, **fixed, **dict.fromkeys(java, options)}


def _spelled(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
