"""Log lines know their run, levels are per run and per module, and a library user is left alone."""

import io
import json
import logging
import subprocess
import sys
import threading

import pytest

from rayetl.observability import logs


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_bound_fields_are_in_every_line() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    log = logs.get_logger("rayetl.a")
    with logs.bound(run="r1", pipeline="p"):
        with logs.bound(step="s"):
            log.info("staged", rows=3)
        log.warning("slow")
    log.info("over")
    first, second, third = lines(stream)
    assert {"run": "r1", "pipeline": "p", "step": "s", "rows": 3, "event": "staged"}.items() <= first.items()
    assert first["level"] == "info"
    assert first["logger"] == "rayetl.a"
    assert "step" not in second
    assert "run" not in third


def test_sixteen_runs_in_threads_do_not_mix() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    barrier = threading.Barrier(16)

    def work(number: int) -> None:
        with logs.bound(run=number):
            for _ in range(20):
                barrier.wait()
                logs.get_logger("rayetl.a").info("tick", own=number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = lines(stream)
    assert len(found) == 320
    assert all(line["run"] == line["own"] for line in found)


def test_levels_by_module() -> None:
    stream = io.StringIO()
    logs.configure("warning,rayetl.a=debug", "json", stream)
    for name in ("rayetl.a", "rayetl.b"):
        logs.get_logger(name).debug("fine")
        logs.get_logger(name).warning("loud")
    assert [(line["logger"], line["event"]) for line in lines(stream)] == [
        ("rayetl.a", "fine"),
        ("rayetl.a", "loud"),
        ("rayetl.b", "loud"),
    ]


def test_levels_by_run_override_the_process_both_ways() -> None:
    stream = io.StringIO()
    logs.configure("warning", "json", stream)
    log = logs.get_logger("rayetl.a.deep")
    with logs.bound("error,a=debug"):
        log.debug("shown")
        logs.get_logger("rayetl.b").warning("hidden")
    log.debug("hidden")
    assert [line["event"] for line in lines(stream)] == ["shown"]


@pytest.mark.parametrize("text", ["loud", "info,rayetl.a=", "=", ""])
def test_unknown_levels_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="allowed: debug, info"):
        logs.parse_levels(text)


def test_a_second_configure_replaces_the_first() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.configure("debug,a=debug", "json", first)
    logs.configure("error", "json", second)
    logs.get_logger("rayetl.a").info("gone")
    logs.get_logger("rayetl.a").error("here")
    assert first.getvalue() == ""
    assert len(lines(second)) == 1


def test_fields_may_have_any_name_and_value() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    logs.get_logger("rayetl.a").info("50% done", name="x", msg="y", args=1, percent="%s", odd=object())
    (line,) = lines(stream)
    assert line["event"] == "50% done"
    assert (line["name"], line["msg"], line["args"]) == ("x", "y", 1)


def test_an_exception_is_in_the_line() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    try:
        raise KeyError("gone")
    except KeyError as error:
        logs.get_logger("rayetl.a").error("failed", exc_info=error)
    assert "KeyError: 'gone'" in str(lines(stream)[0]["exception"])


def test_no_field_passes_for_the_level_or_the_logger() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    logs.get_logger("rayetl.a").info("staged", level="debug", logger="x", timestamp=0)
    (line,) = lines(stream)
    assert (line["level"], line["logger"]) == ("info", "rayetl.a")
    assert str(line["timestamp"]).endswith("Z")


def test_a_value_cannot_begin_a_line_of_its_own() -> None:
    stream = io.StringIO()
    logs.configure("info", "text", stream)
    logs.get_logger("rayetl.a").info("read", path="a b\n2026-01-01 error", odd="a=b")
    assert stream.getvalue().endswith(' read [rayetl.a] path="a b\\n2026-01-01 error" odd="a=b"\n')
    assert stream.getvalue().count("\n") == 1


def test_a_traceback_for_people_shows_no_values_of_variables() -> None:
    stream = io.StringIO()
    logs.configure("info", "text", stream)
    try:
        password = "c4n4ry"
        raise KeyError(len(password))
    except KeyError as error:
        logs.get_logger("rayetl.a").error("failed", exc_info=error)
    assert "KeyError: 6" in stream.getvalue()
    assert stream.getvalue().count("c4n4ry") == 0


def test_text_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    logs.configure("info", "text", stream)
    with logs.bound(run="r1"):
        logs.get_logger("rayetl.a").info("staged", rows=3)
    assert "staged" in stream.getvalue()
    assert "run=r1" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_a_library_user_sees_plain_logging_records(caplog: pytest.LogCaptureFixture) -> None:
    root = logging.getLogger("rayetl")
    root.propagate = True
    with caplog.at_level(logging.INFO, logger="rayetl"), logs.bound(run="r1"):
        logs.get_logger("rayetl.a").info("staged", rows=3)
    assert caplog.messages == ["staged run=r1 rows=3"]


def test_import_configures_nothing_and_prints_nothing() -> None:
    code = (
        "import sys, logging\n"
        "from rayetl.observability import logs\n"
        "logs.get_logger('rayetl.a').error('quiet')\n"
        "assert not logging.getLogger().handlers\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
