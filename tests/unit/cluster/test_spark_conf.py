"""What a Spark session is started with."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from rayetl.cluster.spark_conf import session_conf
from rayetl.config.engines import EngineChoice, SparkSettings

ENGINE: TypeAdapter[Any] = TypeAdapter(EngineChoice)


def test_the_name_alone_is_enough() -> None:
    assert ENGINE.validate_python("spark") == SparkSettings(type="spark")


def test_sizes_as_spark_writes_them() -> None:
    assert ENGINE.validate_python({"type": "spark", "memory": "2g"}).memory == 2 * 1024**3


def test_java_17_is_opened_in_all_three_jvms_with_deep_stacks_and_all_are_marked() -> None:
    conf = session_conf(SparkSettings(type="spark"), "m1", one_machine=True)
    for owner in ("driver", "executor", "ray.raydp_app_master"):
        options = conf[f"spark.{owner}.extraJavaOptions"]
        assert "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED" in options
        assert "-Drayetl.session=m1" in options
        assert "-Xss" in options


def test_nothing_listens_beyond_this_machine_unless_there_are_more() -> None:
    alone = session_conf(SparkSettings(type="spark"), "m", one_machine=True)
    many = session_conf(SparkSettings(type="spark"), "m", one_machine=False)
    assert alone["spark.driver.bindAddress"] == "127.0.0.1"
    assert "spark.driver.bindAddress" not in many
    assert alone["spark.ui.enabled"] == many["spark.ui.enabled"] == "false"


def test_a_setting_of_the_users_comes_before_ours() -> None:
    settings = SparkSettings(type="spark", conf={"spark.sql.adaptive.enabled": False, "spark.x": 3})
    conf = session_conf(settings, "m", one_machine=True)
    assert (conf["spark.sql.adaptive.enabled"], conf["spark.x"]) == ("false", "3")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("spark.hadoop.fs.s3a.secret.key", "x", "secret"),
        ("spark.hadoop.fs.s3a.access.key", "x", "secret"),
        ("spark.ssl.keyPassword", "x", "secret"),
        ("spark.jars.repositories", "https://me:pw@host/", "secret"),
        ("spark.executor.memory", "2g", "memory"),
        ("spark.sql.session.timeZone", "UTC", "time_zone"),
        ("spark.sql.ansi.enabled", True, "set by rayetl"),
        ("spark.SQL.ANSI.enabled", True, "set by rayetl"),
        ("spark.ui.port", 4040, "set by rayetl"),
        ("sparkle.x", 1, "no setting of Spark"),
    ],
)
def test_settings_that_change_rows_open_ports_or_hold_secrets_are_refused(
    key: str, value: Any, said: str
) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        ENGINE.validate_python({"type": "spark", "conf": {key: value}})
    assert "pw@" not in caught.value.errors()[0]["msg"]
