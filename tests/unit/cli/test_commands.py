"""Every command: what it calls, what it prints where, and with which code it ends."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rayetl.cli.reference import page
from rayetl.cli.settings import hoist
from rayetl.errors import (
    ConfigError,
    Problem,
    QualityAbort,
    RejectLimit,
    SourceError,
    SqlError,
)
from rayetl.observability.report import ErrorReport
from rayetl.observability.store import save_report

PROBLEMS = [
    Problem(
        "unknown_field",
        "unknown field `goupBy`",
        file="a.yaml",
        line=3,
        column=5,
        hint="did you mean group_by?",
    ),
    Problem("type", "expected a number", file="a.yaml", line=9, column=2),
]


def test_run_passes_on_what_was_asked(fake, call) -> None:
    done = call("run", "a.yaml", "--set", "day=2013-01-01", "--set", "x=a=b", "--run-key", "k", "--force")
    assert done.code == 0
    assert fake.calls[:2] == [("load", ("a.yaml", {"day": "2013-01-01", "x": "a=b"})), ("run", ("k", True))]
    assert "flights: done" in done.out


def test_run_as_json_prints_the_report_alone(fake, call) -> None:
    done = call("run", "a.yaml", "--json")
    assert json.loads(done.out)["run"] == "20261123T110000-abc"


def test_progress_goes_to_stderr_as_json_log_lines_off_a_terminal(fake, call) -> None:
    done = call("run", "a.yaml")
    assert [json.loads(line)["event"] for line in done.err.splitlines()] == ["run ...", "run took 500 ms"]


def test_progress_is_plain_text_when_logs_are(fake, call) -> None:
    assert call("run", "a.yaml", "--log-format", "text").err == "run ...\nrun took 500 ms\n"


@pytest.mark.parametrize(
    "place", [("-q", "run", "a.yaml"), ("run", "a.yaml", "--quiet"), ("run", "-q", "a.yaml")]
)
def test_quiet_is_quiet_wherever_it_stands(fake, call, place) -> None:
    done = call(*place)
    assert (done.code, done.out, done.err) == (0, "", "")


@pytest.mark.parametrize("name", ["r.html", "deep/r.json"])
def test_run_writes_a_report_where_told(fake, call, tmp_path, name) -> None:
    call("run", "a.yaml", "--report", str(tmp_path / name))
    text = (tmp_path / name).read_text()
    assert text.startswith("<!doctype html>" if name.endswith("html") else "{")


def test_exit_code_is_the_reports(fake, call, changed) -> None:
    fake.report = changed(status="rejects_over_share", exit_code=4)
    assert call("run", "a.yaml").code == 4


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        (
            SourceError("a.csv is cut off", hint="fetch it again", step="flights"),
            1,
            "error: flights: a.csv is cut off\nhint: fetch it again\n",
        ),
        (QualityAbort("rule r failed"), 3, "error: rule r failed\n"),
        (RejectLimit("too many"), 4, "error: too many\n"),
        (SqlError(PROBLEMS[1:]), 2, "a.yaml:9:2: expected a number\n1 problem found"),
        (
            ConfigError(PROBLEMS),
            2,
            "a.yaml:3:5: unknown field `goupBy` (did you mean group_by?)\na.yaml:9:2: expected a number\n2 problems found",
        ),
        (
            ZeroDivisionError("division\nby zero"),
            1,
            "error: unexpected ZeroDivisionError: division by zero\nhint: ",
        ),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_failures_are_told_in_words(fake, call, fault, code, said) -> None:
    fake.fault = fault
    done = call("run", "a.yaml", "-q")
    assert done.code == code
    assert said in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


def test_a_panic_of_the_engine_is_no_traceback(fake, call) -> None:
    import polars as pl

    fake.fault = pl.exceptions.PanicException("index out of bounds")
    done = call("run", "a.yaml", "-q")
    assert done.code == 1
    assert "unexpected PanicException: index out of bounds" in done.err


def test_debug_shows_the_traceback(fake, call) -> None:
    fake.fault = ZeroDivisionError("x")
    assert "Traceback" in call("run", "a.yaml", "--debug").err


def test_a_failed_run_still_shows_its_report(fake, call, changed) -> None:
    fake.fault = SourceError("a.csv is cut off")
    fake.fault.report = changed(
        status="failed", exit_code=1, error=ErrorReport("SourceError", "a.csv is cut off")
    )
    done = call("run", "a.yaml", "--json")
    assert json.loads(done.out)["error"]["message"] == "a.csv is cut off"
    assert done.code == 1


def test_a_report_that_cannot_be_written_hides_neither_the_run_nor_its_fault(
    fake, call, changed, tmp_path
) -> None:
    asked = ("run", "a.yaml", "--report", str(tmp_path / "r.html"))
    (tmp_path / "r.html").mkdir()
    done = call(*asked)
    assert (done.code, "flights: done" in done.out) == (1, True)
    assert f"error: the report cannot be written to {tmp_path / 'r.html'}: Is a directory\n" in done.err
    fake.fault = QualityAbort("rule late failed", step="checked")
    fake.fault.report = changed(status="aborted", exit_code=3)
    stopped = call(*asked)
    assert (stopped.code, "flights: stopped by a quality rule" in stopped.out) == (3, True)
    assert "the report cannot be written to" in stopped.err
    assert "error: checked: rule late failed" in stopped.err


def test_control_characters_of_the_data_never_reach_the_terminal(fake, call) -> None:
    fake.fault = SourceError("column \x1b[2Jx is odd")
    assert "\\x1b[2Jx" in call("run", "a.yaml", "-q").err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("rnu",), "No such command 'rnu'. Did you mean 'run'?"),
        (("run",), "Missing argument 'CONFIG'"),
        (("run", "a.yaml", "--frce"), "--frce"),
        (("run", "a.yaml", "--set", "x"), "'x' is not KEY=VALUE"),
        (("run", "a.yaml", "--log-level", "loud"), "'loud' is not a log level"),
        (("run", "a.yaml", "--log-format", "xml"), "'xml' is not one of"),
        (("preview", "a.yaml", "--rows", "-1"), "--rows"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_a_hint(fake, call, argv, said) -> None:
    done = call(*argv)
    assert done.code == 2
    assert said in done.err
    assert "--help" in done.err


def test_check_is_short_when_all_is_well(fake, call) -> None:
    done = call("check", "a.yaml", "b.yaml")
    assert (done.code, done.out) == (0, "a.yaml: ok\nb.yaml: ok\n")


def test_check_warns_of_what_stops_nothing(fake, call) -> None:
    fake.doubts = (
        Problem("warning", "nothing reads `x`", ("extract",), "leave it out", None, "a.yaml", 3, 5),
    )
    done = call("check", "a.yaml")
    assert (done.code, done.out) == (0, "a.yaml: ok\n")
    assert done.err == "a.yaml:3:5: warning: nothing reads `x` (leave it out)\n"
    told = json.loads(call("check", "a.yaml", "--json").out)
    assert (told["ok"], [w["message"] for w in told["warnings"]]) == (True, ["nothing reads `x`"])


def test_check_as_json_lists_problems(fake, call) -> None:
    fake.fault = ConfigError(PROBLEMS)
    done = call("check", "a.yaml", "--json")
    found = json.loads(done.out)
    assert done.code == 2
    assert found["ok"] is False
    assert [(p["line"], p["hint"]) for p in found["problems"]] == [(3, "did you mean group_by?"), (9, None)]


def test_check_finds_the_problems_of_every_file(fake, call) -> None:
    fake.fault = ConfigError(PROBLEMS)
    done = call("check", "a.yaml", "b.yaml")
    assert done.code == 2
    assert "4 problems found" in done.err


def test_check_goes_on_after_a_config_whose_source_cannot_be_looked_at(fake, call) -> None:
    fake.fault = SourceError("it is gone", hint="put it back", step="flights")
    done = call("check", "a.yaml", "b.yaml")
    assert done.code == 1
    assert "b.yaml: flights: it is gone (put it back)\n2 problems found" in done.err
    told = call("check", "a.yaml", "--json")
    assert [p["hint"] for p in json.loads(told.out)["problems"]] == ["put it back"]


def test_explain(fake, call) -> None:
    assert call("explain", "a.yaml").out == "the plan\n"
    assert call("explain", "a.yaml", "--sql").out == "SELECT 1\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), ("local", None, {})),
        (("--runtime", "ray"), ("ray", None, {})),
        (("--address", "auto"), ("ray", "auto", {})),
        (("--runtime", "ray", "--split-size", "16MiB"), ("ray", None, {"split_size": 16 << 20})),
    ],
)
def test_where_a_run_lives(fake, call, words, expected) -> None:
    assert call("run", "a.yaml", "-q", *words).code == 0
    assert ("runtime", expected) in fake.calls


@pytest.mark.parametrize("command", ["run", "explain"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--split-size", "16MiB"), "the runtime local cuts nothing"),
        (("--runtime", "ray", "--split-size", "much"), "'much' is not a size"),
    ],
)
def test_a_split_size_that_means_nothing_is_refused(fake, call, command, words, said) -> None:
    done = call(command, "a.yaml", *words)
    assert done.code == 2
    assert said in done.err


@pytest.mark.parametrize("command", ["run", "explain"])
def test_a_split_size_is_not_passed_over_by_spark(call, tmp_path, monkeypatch, command) -> None:
    """At once: not even the source, which is missing, is looked for."""
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_text(
        "name: p\nextract: {type: files, path: in.csv}\nload: {type: files, path: out}\nengine: spark\n"
    )
    done = call(command, "p.yaml", "--runtime", "ray", "--split-size", "1MiB")
    assert done.code == 2
    assert "p.yaml:4:9: with `engine: spark` nothing is cut by --split-size" in done.err
    assert "engine: {type: spark, conf: {spark.sql.files.maxPartitionBytes: 1048576}}" in done.err


def test_a_run_in_a_ray_job_lives_on_ray(fake, call, monkeypatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    call("run", "a.yaml", "-q")
    call("run", "a.yaml", "-q", "--runtime", "local")
    assert [found for name, found in fake.calls if name == "runtime"] == [
        ("ray", None, {}),
        ("local", None, {}),
    ]


@pytest.mark.parametrize("size", ["much", "0", "-1", "1 banana"])
def test_a_split_size_must_be_one(fake, call, size) -> None:
    outcome = call("run", "a.yaml", f"--split-size={size}")
    assert outcome.code == 2
    assert "--split-size" in outcome.err


def test_preview_as_a_table_and_as_json(fake, call) -> None:
    shown = call("preview", "a.yaml", "--step", "s", "--rows", "2")
    assert ("preview", ("s", 2)) in fake.calls
    assert "s, 2 rows:" in shown.out
    assert "id: bigint" in shown.out
    assert "NULL" in shown.out
    assert "\x1b" not in shown.out
    lines = call("preview", "a.yaml", "--json").out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [1, None]


def test_test_shows_diffs_and_fails(fake, call) -> None:
    done = call("test", "a.yaml", "good", "bad")
    assert done.code == 1
    assert ("test", (("good", "bad"),)) in fake.calls
    assert "1 => 2" in done.out
    assert done.out.endswith("1 passed, 1 failed\n")
    assert json.loads(call("test", "a.yaml", "--json").out)["cases"][0]["name"] == "good"


LETTERS = [
    {
        "id": f"{number:032x}",
        "pipeline": "p",
        "run": f"r{number}",
        "epoch": "k",
        "step": "delays",
        "reasons": [{"rule": "sane", "kind": "check", "field": "d", "reason": "d < 1 is not true"}],
        "source": "flights",
        "file": "a.csv",
        "row": number,
        "record": b"1,\xff,x\n",
        "record_format": "csv",
        "contract_fingerprint": None,
        "time": datetime(2026, 1, 1, tzinfo=UTC),
        "trace_id": None,
    }
    for number in (1, 2)
]


@pytest.fixture
def letters(fake, tmp_path):
    import polars as pl

    from rayetl.connectors.base import Epoch
    from rayetl.connectors.dead_letter_files import DeadLetterFiles
    from rayetl.connectors.dead_letters import DEAD_LETTER
    from rayetl.sql.interop import to_polars

    fake.store = str(tmp_path)
    store = DeadLetterFiles(path=fake.store).of("p")
    frame = pl.DataFrame(LETTERS, schema=to_polars(DEAD_LETTER))
    store.write(Epoch("p", "rejects", "k", "r1"), [frame.lazy()], frame.height)
    store.mark_replayed([LETTERS[0]["id"]], Epoch("p", "replayed", "k2", "r3"))
    return LETTERS


def test_dead_letters_are_listed(letters, call) -> None:
    listed = call("dlq", "list", "a.yaml").out
    assert "2 dead letters" in listed
    assert "a.csv, row 2" in listed
    assert "\n1 dead letter:" in call("dlq", "list", "a.yaml", "--run", "r2").out
    assert "\n1 dead letter:" in call("dlq", "list", "a.yaml", "--pending").out
    assert "1 shown" in call("dlq", "list", "a.yaml", "--limit", "1").out
    lines = call("dlq", "list", "a.yaml", "--json").out.splitlines()
    assert [json.loads(line)["replayed"] for line in lines] == [True, False]
    assert "d < 1 is not true" in call("dlq", "list", "a.yaml", "--counts").out
    assert len(call("dlq", "list", "a.yaml", "--counts", "--json").out.splitlines()) == 2
    assert call("dlq", "list", "a.yaml", "--counts", "--json", "--run", "nothing").out == ""


def test_dead_letters_are_shown_whole(letters, call) -> None:
    shown = call("dlq", "show", "a.yaml", letters[0]["id"]).out
    assert "sane (d): d < 1 is not true" in shown
    assert "record (csv): 1,\\xff,x" in shown
    assert len(call("dlq", "show", "a.yaml", "--json").out.splitlines()) == 2


def test_dead_letters_are_replayed(fake, letters, call) -> None:
    assert call("dlq", "replay", "a.yaml", letters[1]["id"]).code == 0
    assert fake.calls[-1] == ("replay", ((letters[1]["id"],),))
    call("dlq", "replay", "a.yaml")
    assert fake.calls[-1] == ("replay", ((),))


def test_a_replay_that_is_stopped_shows_its_report(fake, letters, call, changed) -> None:
    fake.fault = QualityAbort("rule late failed", step="checked")
    fake.fault.report = changed(status="aborted", exit_code=3)
    done = call("dlq", "replay", "a.yaml")
    assert (done.code, "flights: stopped by a quality rule" in done.out) == (3, True)
    assert "error: checked: rule late failed" in done.err


@pytest.mark.parametrize(
    ("wanted", "said"), [("0000", "several dead letters"), ("zz", "no dead letter begins")]
)
def test_a_wrong_dead_letter_id_is_told(letters, call, wanted, said) -> None:
    done = call("dlq", "show", "a.yaml", wanted)
    assert done.code == 1
    assert said in done.err


def test_report_shows_lists_and_writes(call, changed, tmp_path) -> None:
    save_report(changed(), tmp_path)
    state = ("--state", str(tmp_path))
    assert "flights: done" in call("report", *state).out
    assert "20261123T110000-abc" in call("report", "--list", *state).out
    assert json.loads(call("report", "2026", "--json", *state).out)["pipeline"] == "flights"
    written = call("report", "last", "--html", str(tmp_path / "r.html"), *state)
    assert written.code == 0
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    missing = call("report", "zzz", *state)
    assert missing.code == 1
    assert "hint:" in missing.err


def test_doctor_looks_and_advises(call, tmp_path) -> None:
    done = call("doctor", "--state", str(tmp_path / "not" / "yet"))
    assert done.code == 0
    assert "polars" in done.out
    found = json.loads(call("doctor", "--json").out)
    assert {"python", "polars", "memory", "disk", "write rights", "time zones"} <= {f["what"] for f in found}
    (tmp_path / "file").touch()
    assert "choose a directory" in call("doctor", "--state", str(tmp_path / "file")).out


def test_memory_that_the_page_cache_holds_is_free() -> None:
    from rayetl.cli.doctor import available

    assert available("MemTotal: 24683520 kB\nMemFree:   204800 kB\nMemAvailable:  20971520 kB\n") == 20 << 30


def test_doctor_in_a_directory_that_is_gone(call, tmp_path, monkeypatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    done = call("doctor")
    assert done.code == 1
    assert "change to another directory" in done.out


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (("run", "a.yaml", "--report", "r.txt"), 2, "r.txt ends neither in .html nor in .json"),
        (("run", "a.yaml", "--run-key", ""), 2, "a key is wanted"),
        (("schema", "-o", "."), 1, "the schema cannot be written to .: Is a directory"),
    ],
)
def test_options_that_cannot_be_are_told(call, argv, code, words) -> None:
    done = call(*argv)
    assert done.code == code
    assert words in done.err


def test_doctor_fails_where_a_part_is_missing(call, monkeypatch) -> None:
    from rayetl.cli import doctor

    monkeypatch.setattr(doctor, "CORE", ("no-such-part",))
    done = call("doctor")
    assert done.code == 1
    assert "pip install 'no-such-part'" in done.out


def test_doctor_fails_where_sqlglot_is_compiled(call, monkeypatch) -> None:
    from rayetl.cli import doctor

    monkeypatch.setattr(doctor, "_installed", lambda name: "30.30.0")
    done = call("doctor")
    assert done.code == 1
    assert "pip uninstall sqlglotc" in done.out


@pytest.mark.parametrize(
    ("argv", "moved"),
    [
        (["run", "x", "--debug"], ["--debug", "run", "x"]),
        (["run", "--log-level", "debug", "x"], ["--log-level", "debug", "run", "x"]),
        (["run", "--log-level=debug", "x"], ["--log-level=debug", "run", "x"]),
        (["run", "--", "--debug"], ["run", "--", "--debug"]),
        (["run", "x", "--log-level"], ["--log-level", "run", "x"]),
    ],
)
def test_common_options_may_stand_anywhere(argv, moved) -> None:
    common, own = hoist(argv)
    assert [*common, *own] == moved


@pytest.mark.parametrize("option", ["--quiet", "--log-level=debug"])
def test_beside_a_common_option_the_other_commands_are_not_loaded(option: str) -> None:
    code = (
        f"import sys\nfrom rayetl.cli.app import execute\nexecute(['report', {option!r}, '--help'])\n"
        "assert 'rayetl.cli.report' in sys.modules\n"
        "assert not {'rayetl.cli.explain', 'rayetl.cli.vault'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_command_has_examples() -> None:
    for section in page().split("\n## ")[1:]:
        name = section.split("`")[1]
        assert (
            name in ("rayetl dlq", "rayetl table", "rayetl vault")
            or f"  {name}" in section.split("Examples:", 1)[1]
        ), name


def test_the_reference_page_is_fresh() -> None:
    committed = Path(__file__).parents[3] / "docs" / "cli.md"
    assert committed.read_text("utf-8") == page(), "run: python -m rayetl.cli.reference > docs/cli.md"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom rayetl.cli import main\nmain(['run', '--help'])\nmain(['--help'])\n"
        "assert 'rayetl.model' not in sys.modules\n"
        "heavy = {'polars', 'pyarrow', 'sqlglot', 'ray', 'pyspark', 'rich', 'numpy',"
        " 'fastavro', 'ruamel', 'jsonschema', 'deltalake', 'confluent_kafka'}\n"
        "assert not heavy & {name.split('.')[0] for name in sys.modules}, heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_long_query_cleanly(number, code, tmp_path) -> None:
    script = tmp_path / "long.py"
    script.write_text(
        "import sys, types\n"
        "class Pipeline:\n"
        "    @classmethod\n"
        "    def load(cls, path, *, variables): return cls()\n"
        "    def run(self, **given):\n"
        "        import polars as pl\n"
        "        frame = pl.LazyFrame({'a': pl.int_range(0, 3_000_000, eager=True)})\n"
        "        frame = frame.with_columns(b=pl.col('a').cast(pl.String)).sort('b')\n"
        "        try:\n"
        "            print('computing', flush=True)\n"
        "            while True: pl.collect_all([frame, frame.group_by('b').len()])\n"
        "        finally:\n"
        "            for _ in range(10_000): str(_)\n"
        "            print('cleaned up', flush=True)\n"
        "module = types.ModuleType('rayetl.pipeline')\n"
        "module.Pipeline = Pipeline\n"
        "sys.modules['rayetl.pipeline'] = module\n"
        "from rayetl.cli import main\n"
        "sys.exit(main(['run', 'a.yaml', '-q']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "computing\n"
    os.kill(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "cleaned up\n")
    assert "stopped by" in err
    assert "Traceback" not in err


def test_before_a_command_begins_an_interrupt_ends_the_process_without_a_word() -> None:
    code = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "rayetl.cli.app":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
sys.argv = ["rayetl", "--version"]
from rayetl.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


FULL = "error: stdout cannot be written: No space left on device\nhint: what the command did stands"


@pytest.mark.parametrize(
    ("stdout", "environment", "code", "said"),
    [
        (">&-", {}, 0, ""),
        ("2>&-", {}, 0, ""),
        (">/dev/full", {"PYTHONUNBUFFERED": ""}, 1, FULL),
        (">/dev/full", {"PYTHONUNBUFFERED": "1"}, 1, FULL),
        (">out", {"PYTHONIOENCODING": "ascii"}, 0, ""),
    ],
)
def test_streams_that_take_nothing_or_not_all_fail_no_command(
    stdout: str, environment: dict[str, str], code: int, said: str, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text("a\n1\n")
    (tmp_path / "ü.yaml").write_text(
        "name: p\nextract: {type: files, path: in.csv, schema: a INT}\nload: {type: files, path: out}\n"
    )
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m rayetl check ü.yaml {stdout}"],
        cwd=tmp_path,
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
    )
    assert (done.returncode, done.stdout) == (code, "ü.yaml: ok\n".encode() if stdout == "2>&-" else b"")
    assert done.stderr.decode().startswith(said)
    assert bool(done.stderr) is bool(said)
    if "PYTHONIOENCODING" in environment:
        assert (tmp_path / "out").read_text() == "?.yaml: ok\n"


@pytest.mark.parametrize("late", [0, 0.1])
def test_an_interrupt_where_python_can_raise_nothing_is_raised_after_it(late: float) -> None:
    """As in a generator that is closed; faults of other kinds there are told as ever. On a machine that is
    busy the signal that is sent again comes before that place is left."""
    code = f"""
import os, signal, time
from rayetl.cli.signals import Interrupts

class Busy(Interrupts):
    late = {late}
    def _send_again(self):
        super()._send_again()
        late, self.late = self.late, 0
        time.sleep(late)

class Dying:
    def __init__(self, act): self.act = act
    def __del__(self): self.act()

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)

with Busy():
    Dying(lambda: 1 / 0)
    try:
        Dying(interrupt)
        time.sleep(5)
        print("lost")
    except KeyboardInterrupt:
        print("raised")
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "raised\n"
    assert "ZeroDivisionError" in done.stderr
    assert "KeyboardInterrupt" not in done.stderr


def test_two_names_of_one_directory_are_one_place(call, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    (tmp_path / "in.csv").write_text("1\n")
    (tmp_path / "a.yaml").write_text(
        "name: p\nextract: {type: files, path: in.csv, schema: a INT}\n"
        "load:\n  - {type: files, path: out}\n  - {type: files, path: link}\n"
        "  - {type: files, path: x/../out/deep}\n"
    )
    done = call("check", "a.yaml")
    assert done.code == 2
    assert "`load_2` and `load_1` both write to" in done.err
    assert "`load_3` writes to" in done.err
