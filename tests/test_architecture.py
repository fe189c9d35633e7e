"""The house as tests: who imports whom, what an import costs, how long files and functions are."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parent.parent
HEAVY = (
    "ray",
    "pyspark",
    "polars",
    "pyarrow",
    "sqlglot",
    "pydantic",
    "numpy",
    "pandas",
    "fastavro",
    "duckdb",
)
DRIVERS = (
    "ray",
    "pyspark",
    "duckdb",
    "pandas",
    "adbc_driver_manager",
    "adbc_driver_postgresql",
    "psycopg",
    "pymysql",
    "deltalake",
    "pyiceberg",
    "boto3",
    "hvac",
    "cryptography",
)


def sources() -> list[Path]:
    return sorted((ROOT / "rayetl").rglob("*.py"))


def functions() -> list[tuple[int, str]]:
    found = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                found.append((node.end_lineno - node.lineno + 1, f"{path}:{node.name}"))
    return found


def test_import_contracts_hold() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("code", ["import rayetl", "from rayetl.cli import main; main(['--help'])"])
def test_a_first_import_brings_nothing_heavy(code: str) -> None:
    check = f"import sys, atexit; heavy = {HEAVY}\natexit.register(lambda: print('HEAVY', sorted(set(heavy) & set(sys.modules))))\n{code}"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert "HEAVY []" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("path", ["in.csv", "in.parquet"])
def test_a_run_imports_no_driver(tmp_path: Path, path: str) -> None:
    (tmp_path / "in.csv").write_text("a,b\n1,x\n")
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "in.parquet")
    (tmp_path / "p.yaml").write_text(
        f"name: p\nextract: {{type: files, path: {path}}}\nload: {{type: files, path: out, format: parquet}}\n"
    )
    code = (
        "import sys\nfrom rayetl import Pipeline\nPipeline.load('p.yaml').run()\n"
        f"print(sorted(set({DRIVERS}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_dataclasses_are_those_that_cost_little_at_import() -> None:
    dear = [
        str(path.relative_to(ROOT))
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "dataclasses"
        if any(name.name == "dataclass" for name in node.names)
    ]
    assert dear == ["rayetl/records.py"], "import it from rayetl.records"


def test_files_and_functions_are_short() -> None:
    files = [len(path.read_text().splitlines()) for path in sources()]
    lengths = [length for length, _ in functions()]
    assert statistics.median(files) <= 200
    assert statistics.quantiles(files, n=10)[-1] <= 400
    assert max(files) <= 600
    assert statistics.median(lengths) <= 10
    assert statistics.quantiles(lengths, n=10)[-1] <= 30
