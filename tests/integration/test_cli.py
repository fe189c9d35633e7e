"""The first hour with rayetl, by its real commands: init, check, test, run, report, dlq."""

import json
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Rayetl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def rayetl(tmp_path: Path) -> Rayetl:
    def call(*argv: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "rayetl", *argv], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return call


@pytest.fixture
def started(rayetl: Rayetl, tmp_path: Path) -> Path:
    rayetl("init")
    return tmp_path / "pipeline.yaml"


def test_the_starter_is_right_as_it_is(rayetl: Rayetl, started: Path) -> None:
    first = started.read_text().splitlines()[0]
    schema = started.parent / first.removeprefix("# yaml-language-server: $schema=")
    assert json.loads(schema.read_text())["$schema"].startswith("https://json-schema.org/draft/2020-12")
    assert rayetl("check", "pipeline.yaml").stdout == "pipeline.yaml: ok\n"
    assert rayetl("test", "pipeline.yaml").stdout.endswith("1 passed, 0 failed\n")


def test_check_goes_on_after_a_source_that_it_cannot_reach(rayetl: Rayetl, tmp_path: Path) -> None:
    stores = "{type: postgres, credential: absent, table: t}", "{type: mysql, credential: gone, table: t}"
    load = "load: {type: files, path: out}\n"
    (tmp_path / "one.yaml").write_text(f"name: one\nextract: {stores[0]}\n{load}")
    two = f"name: two\nextract:\n  a: {stores[0]}\n  b: {stores[1]}\n  c: {{type: files, path: c.csv}}\n"
    (tmp_path / "two.yaml").write_text(two + load.replace("{", "{from: a, "))
    said = rayetl("check", "one.yaml", "two.yaml", code=2).stderr.splitlines()
    assert [line.partition(" (")[0] for line in said] == [
        "one.yaml: source: no credential 'absent' was found",
        "two.yaml:3:6: no credential 'absent' was found",
        "two.yaml:4:6: no credential 'gone' was found",
        "two.yaml:5:26: there is no file or directory c.csv",
        "4 problems found, nothing was read or written",
    ]
    # Alone it stays what it is: it is not the config that is wrong.
    assert "no credential 'absent'" in rayetl("check", "one.yaml", code=1).stderr


def test_check_looks_up_the_credentials_of_loads_and_of_letters(rayetl: Rayetl, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("1\n")
    head = "name: one\nextract: {type: files, path: c.csv, schema: a INT}\nload:\n"
    load = "  - {type: postgres, credential: absent, table: t}\n"
    (tmp_path / "one.yaml").write_text(head + load)
    (tmp_path / "two.yaml").write_text(
        f"{head}{load}resilience: {{dead_letter: {{path: rejects, encrypt: gone}}}}\n"
    )
    assert "load_1: no credential 'absent' was found" in rayetl("check", "one.yaml", code=1).stderr
    said = rayetl("check", "two.yaml", code=2).stderr.splitlines()
    assert [line.partition(" (")[0] for line in said] == [
        "two.yaml:4:5: no credential 'absent' was found",
        "two.yaml:5:27: no credential 'gone' was found, which holds the key of the dead letters",
        "2 problems found, nothing was read or written",
    ]


def test_init_replaces_nothing_unasked(rayetl: Rayetl, started: Path) -> None:
    started.write_text("mine")
    assert "already there: " in rayetl("init", code=1).stderr
    assert started.read_text() == "mine"
    rayetl("init", "--force")
    assert started.read_text() != "mine"


def test_a_run_loads_rejects_and_reports(rayetl: Rayetl, started: Path) -> None:
    report = json.loads(rayetl("run", "pipeline.yaml", "--json").stdout)
    assert report["status"] == "done"
    assert report["sources"][0]["rows_read"] == 8
    assert report["rejected_rows"] == 2
    assert report["loads"][0]["rows"] == 3
    assert all(line["balanced"] for line in report["books"])
    files = (started.parent / "out" / "totals").rglob("*.csv")
    lines = sorted(line for file in files for line in file.read_text().splitlines())
    assert [line for line in lines if line.startswith(("GB", "NL", "US"))] == [
        "GB,2,130.49",
        "NL,1,42.25",
        "US,3,371.50",
    ]


def test_the_same_run_again_is_skipped_and_force_runs_it(rayetl: Rayetl, started: Path) -> None:
    rayetl("run", "pipeline.yaml")
    assert json.loads(rayetl("run", "pipeline.yaml", "--json").stdout)["status"] == "skipped"
    assert json.loads(rayetl("run", "pipeline.yaml", "--json", "--force").stdout)["status"] == "done"


def test_reports_are_kept(rayetl: Rayetl, started: Path, tmp_path: Path) -> None:
    run = json.loads(rayetl("run", "pipeline.yaml", "--json").stdout)
    assert json.loads(rayetl("report", "last", "--json").stdout) == run
    assert run["run"] in rayetl("report", "--list").stdout
    rayetl("report", run["run"][:15], "--html", "report.html")
    assert "amount_is_positive" in (tmp_path / "report.html").read_text()


def test_dead_letters_name_row_and_reason(rayetl: Rayetl, started: Path) -> None:
    rayetl("run", "pipeline.yaml")
    found = [
        json.loads(line) for line in rayetl("dlq", "list", "pipeline.yaml", "--json").stdout.splitlines()
    ]
    assert {letter["reasons"][0]["rule"] for letter in found} == {"has_customer", "amount_is_positive"}
    assert all(letter["file"].endswith("orders.csv") for letter in found)
    negative = next(letter for letter in found if letter["reasons"][0]["rule"] == "amount_is_positive")
    assert "4,Barbara,US,2024-03-02,-5.00" in rayetl("dlq", "show", "pipeline.yaml", negative["id"]).stdout


def test_a_step_that_is_not_there_is_no_empty_list(rayetl: Rayetl, started: Path) -> None:
    rayetl("run", "pipeline.yaml")
    refusing = json.loads(rayetl("dlq", "list", "pipeline.yaml", "--json").stdout.splitlines()[0])["step"]
    for command in "list", "replay":
        said = rayetl("dlq", command, "pipeline.yaml", "--step", f"{refusing}s", code=1).stderr
        assert f"no source, step or load '{refusing}s'" in said
        assert f"did you mean `{refusing}`?" in said
    assert rayetl("dlq", "list", "pipeline.yaml", "--step", "totals").stdout.startswith("\n0 dead letters")
    # Letters of a step that had another name once can still be found.
    started.write_text(re.sub(rf"\b{refusing}\b", "renamed", started.read_text()))
    assert "\n2 dead letters" in rayetl("dlq", "list", "pipeline.yaml", "--step", refusing).stdout


def test_replay_after_a_repair_counts_once(rayetl: Rayetl, started: Path) -> None:
    started.write_text(started.read_text().replace("mode: overwrite", "mode: append\n    from: recent"))
    rayetl("run", "pipeline.yaml")
    started.write_text(started.read_text().replace("amount > 0", "amount > -100"))
    for _ in range(2):
        rayetl("dlq", "replay", "pipeline.yaml")
    files = (started.parent / "out" / "totals").rglob("*.csv")
    assert sum(file.read_text().count("Barbara") for file in files) == 1
    pending = rayetl("dlq", "list", "pipeline.yaml", "--pending").stdout
    assert "amount_is_positive" not in pending


def test_replay_through_an_aggregation_is_refused(rayetl: Rayetl, started: Path) -> None:
    started.write_text(started.read_text().replace("mode: overwrite", "mode: append"))
    rayetl("run", "pipeline.yaml")
    done = rayetl("dlq", "replay", "pipeline.yaml", code=1)
    assert "the step totals" in done.stderr
    assert "hint:" in done.stderr


def test_preview_and_explain(rayetl: Rayetl, started: Path) -> None:
    rows = rayetl("preview", "pipeline.yaml", "--step", "recent", "--rows", "3", "--json").stdout.splitlines()
    assert len(rows) == 3
    assert "totals" in rayetl("explain", "pipeline.yaml").stdout
    assert "GROUP BY" in rayetl("explain", "pipeline.yaml", "--sql").stdout.upper()


def test_a_wrong_config_is_told_by_line_and_writes_nothing(rayetl: Rayetl, started: Path) -> None:
    text = started.read_text().replace("group_by", "goup_by").replace('"amount > 0"', '"amont > 0"')
    started.write_text(text)
    line = next(number for number, row in enumerate(text.splitlines(), 1) if "goup_by" in row)
    done = rayetl("run", "pipeline.yaml", code=2)
    assert f"pipeline.yaml:{line}:" in done.stderr
    assert "group_by" in done.stderr
    assert not (started.parent / "out").exists()


def test_an_abort_rule_leaves_nothing_visible(rayetl: Rayetl, started: Path) -> None:
    started.write_text(started.read_text().replace("on_failure: quarantine", "on_failure: abort"))
    done = rayetl("run", "pipeline.yaml", code=3)
    assert "error:" in done.stderr
    assert not list((started.parent / "out").rglob("*.csv"))


def test_a_missing_input_is_one_sentence(rayetl: Rayetl, started: Path) -> None:
    (started.parent / "data" / "orders.csv").unlink()
    done = rayetl("run", "pipeline.yaml", "-q", code=2)
    assert "orders.csv" in done.stderr


def test_more_partitions_than_a_shell_lets_files_be_open(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("".join(f"{number},x\n" for number in range(600)))
    (tmp_path / "p.yaml").write_text(
        "name: p\nextract: {type: files, path: in.csv, schema: 'id INT, v STRING'}\n"
        "load: {type: files, path: out, partition_by: id}\n"
    )
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    done = subprocess.run(
        [sys.executable, "-m", "rayetl", "run", "p.yaml", "-q"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard)),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list(tmp_path.glob("out/id=*/*.parquet"))) == 600


@pytest.mark.parametrize("command", ["run", "check", "explain", "preview"])
def test_a_working_directory_that_was_removed_is_no_fault_of_ours(
    started: Path, tmp_path: Path, command: str
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os, sys; os.rmdir({str(gone)!r}); from rayetl.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, command, str(started)],
        cwd=gone, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "error: the working directory was removed\n" in done.stderr
