"""Which faults of the work under way say that the Spark session is lost."""

from __future__ import annotations

import pytest
from py4j.protocol import Py4JNetworkError
from services.base import free_port

from rayetl import Pipeline
from rayetl.cluster.spark_session import _broken
from rayetl.engines.spark.failing import told_plainly
from rayetl.errors import RayetlError, Retryable
from rayetl.plan.nodes import Plan

NOTHING = Plan("p", (), (), (), "UTC", 0, "")


def test_a_jvm_that_does_not_answer_is_a_loss_however_it_is_told() -> None:
    with pytest.raises(RayetlError) as told, told_plainly(NOTHING):
        raise Py4JNetworkError("Answer from Java side is empty") from ConnectionResetError()
    for fault in (told.value, told.value.__cause__, ConnectionRefusedError()):
        assert _broken(fault) == "its driver JVM does not answer any more"


def test_a_source_that_cannot_be_reached_is_no_loss_of_spark() -> None:
    place = {"host": "127.0.0.1", "port": free_port(), "database": "d", "user": "u", "password": "p"}
    source, load = {"type": "mysql", "table": "t", **place}, {"type": "files", "path": "out"}
    with pytest.raises(Retryable, match="cannot be reached") as away:
        Pipeline.from_dict({"name": "p", "extract": {"rows": source}, "load": load}).plan()
    assert isinstance(away.value.__context__, Exception)
    assert _broken(away.value) is None
