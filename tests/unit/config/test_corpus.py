"""Wrong configs and exactly what is said about them.

Each case of `tests/corpus/config` has a file `<case>.expected` with a line for every problem:
`line:column: message (hint)`. A first line `# set: name=value` stands for `--set`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rayetl.config.load import load_config
from rayetl.errors import ConfigError, Problem

CORPUS = Path(__file__).parents[2] / "corpus" / "config"
CASES = sorted(path for path in CORPUS.glob("[0-9]*") if path.suffix != ".expected")


def said(problem: Problem) -> str:
    hint = f" ({problem.hint})" if problem.hint else ""
    text = f"{problem.line or '-'}:{problem.column or '-'}: {problem.message}{hint}"
    return text.replace(str(CORPUS), "<here>")


def variables(path: Path) -> dict[str, str]:
    first = path.read_bytes().partition(b"\n")[0].decode("latin-1")
    if not first.startswith("# set: "):
        return {}
    return dict(pair.split("=", 1) for pair in first.removeprefix("# set: ").split())


def problems_of(name: str, given: dict[str, str]) -> tuple[Problem, ...]:
    """Faults of form, or else of sense."""
    try:
        load_config(name, variables=given)
        from rayetl.pipeline import Pipeline

        Pipeline.load(name, variables=given).check()
    except ConfigError as error:
        return error.problems
    return ()


@pytest.fixture
def in_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CORPUS)
    monkeypatch.setattr("os.environ", {})


def test_there_are_enough() -> None:
    assert len(CASES) >= 150


@pytest.mark.usefixtures("in_corpus")
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_case(case: Path) -> None:
    problems = problems_of(case.name, variables(case))
    expected = case.with_name(case.name + ".expected").read_text("utf-8")
    assert "".join(said(problem) + "\n" for problem in problems) == expected
    assert {problem.file for problem in problems} == {case.name}


@pytest.mark.parametrize("number", ["001", "016", "032", "135"])
def test_the_process_says_so_and_exits_with_2(number: str) -> None:
    case = next(path for path in CASES if path.name.startswith(number))
    done = subprocess.run(
        [sys.executable, "-m", "rayetl", "check", case.name],
        cwd=CORPUS,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for line in case.with_name(case.name + ".expected").read_text().splitlines():
        message = line.partition(": ")[2].partition(" (")[0]
        assert message.split("`")[0].strip() in " ".join(done.stderr.split())
