"""Files on S3 as a source, against a real service: found and read as files of this machine are."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import random
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.retries.standard
import fastavro
import polars as pl
import pyarrow.parquet as pq
import pytest
from services.s3 import Account, Bucket, S3Server, keep, login_again

from rayetl import Pipeline
from rayetl.connectors.base import FilesScan
from rayetl.connectors.files_source import FilesSource
from rayetl.connectors.formats import count_rows, fetch_records, parquet, row_groups, scan_files
from rayetl.connectors.s3 import listing, login, reading
from rayetl.engines.spark.native import reads_alike
from rayetl.errors import CredentialError, Retryable, SourceError
from rayetl.names import RECORD, ROW
from rayetl.plan.splits import Splits, cut

ROWS = pl.DataFrame({"k": range(2_000), "v": [f"value {k % 7}" for k in range(2_000)]})
SCHEMA = {
    "type": "record",
    "name": "R",
    "fields": [{"name": "k", "type": "long"}, {"name": "v", "type": "string"}],
}
MAPPED = {**SCHEMA, "fields": [*SCHEMA["fields"], {"name": "m", "type": {"type": "map", "values": "long"}}]}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver waits a second and more before it sends a request again."""
    delay = botocore.retries.standard.ExponentialBackoff
    monkeypatch.setattr(delay, "delay_amount", lambda self, context: 0)


Make = Callable[..., FilesSource]


@pytest.fixture
def source(s3_server: S3Server) -> Make:
    def made(path: Any, **config: Any) -> FilesSource:
        fields = {"type": "files", "credential": "lake", "s3": {"endpoint": s3_server.endpoint}, "path": path}
        return FilesSource.model_validate(fields | config)

    return made


def rows(scan: FilesScan) -> list[tuple[Any, ...]]:
    return scan_files(scan).collect().rows()


def write(path: Path, name: str) -> None:
    path.mkdir(parents=True, exist_ok=True)
    place, (_, _, ending) = path / name, name.partition(".")
    if ending == "parquet":
        ROWS.write_parquet(place, row_group_size=500)
    elif ending.startswith("avro"):
        shape = MAPPED if name.startswith("mapped") else SCHEMA
        records = [{**row, "m": {"a": row["k"]}} for row in ROWS.to_dicts()]
        with place.open("wb") as out:
            fastavro.writer(out, shape, records, "deflate", sync_interval=1_000)
    elif ending.startswith("json"):
        place.write_bytes(packed(ROWS.write_ndjson().encode(), name))
    else:
        place.write_bytes(packed(ROWS.write_csv().encode(), name))


def packed(text: bytes, name: str) -> bytes:
    return gzip.compress(text) if name.endswith(".gz") else text


FORMATS: dict[str, dict[str, Any]] = {
    "a.parquet": {},
    "a.csv": {"options": {"header": True, "inferSchema": True}},
    "a.csv.gz": {"schema": "k BIGINT, v STRING", "options": {"header": True}},
    "a.json": {},
    "a.json.gz": {},
    "a.avro": {},
    "mapped.avro": {},
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read_as_from_this_machine(
    name: str, tmp_path: Path, bucket: Bucket, source: Make
) -> None:
    write(tmp_path, name)
    bucket.put(f"in/{name}", (tmp_path / name).read_bytes())
    here = FilesSource.model_validate(
        {"type": "files", "path": str(tmp_path / name), **FORMATS[name]}
    ).describe(None)
    there = source(f"{bucket.url}/in/{name}", **FORMATS[name]).describe(None)
    assert there.schema == here.schema
    wanted = scan_files(here, position=True).collect()
    assert wanted.height == ROWS.height
    assert scan_files(there, position=True).collect().equals(wanted)
    assert count_rows(there) == count_rows(here)
    picked = pl.LazyFrame({ROW: [3, 1_777]}, schema={ROW: pl.Int64})
    found, expected = (fetch_records(scan, picked, {}).collect()[RECORD].to_list() for scan in (there, here))
    assert found == expected
    assert len(found) == 2


TREE = (
    *("a.csv", "b.csv", "c.txt", ".h.csv", "_h.csv", "year=2013/month=1/a.csv", "year=2014/month=2/b.csv"),
    *(
        "year=__HIVE_DEFAULT_PARTITION__/month=1/n.csv",
        "year=2013/month=1/_x/a.csv",
        "sub/a.csv",
        "sub/s/b.csv",
    ),
    *("d[1]/q.csv", "city=A%20B/x.csv", "year=2013/.h/a.csv"),
)
PATHS = (
    *(
        "",
        "/",
        "/a.csv",
        "/*.csv",
        "/?.csv",
        "/[ab].csv",
        "/[!a].csv",
        "/{a,b}.csv",
        "/*.{csv,txt}",
        "/year=2013",
    ),
    *(
        "/year=*",
        "/year=2013/*",
        "/year=*/month=1",
        "/year=*/month=*/*.csv",
        "/**",
        "/**/*.csv",
        "/sub/**/b.csv",
    ),
    *("/sub", "/s*", "/d[1]/q.csv", "/city=*", "/**/month=1", "/.h.csv", "/_h.csv", "/.*"),
)


@pytest.mark.parametrize(
    "options", [{}, {"recursiveFileLookup": True}, {"pathGlobFilter": "a*.csv"}], ids=str
)
def test_paths_globs_and_partitions_are_those_of_this_machine(
    options: dict[str, Any], tmp_path: Path, bucket: Bucket, source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PAGE", 3)
    for key in TREE:
        (tmp_path / "in" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / key).write_text("1\n")
        bucket.put(f"in/{key}", "1\n")
    bucket.put("in/year=2013/", "")
    bucket.put("inner/a.csv", "1\n")

    def found(path: str, root: str, made: Callable[[str], FilesSource]) -> Any:
        try:
            scan = made(f"{root}/in{path}").describe(None)
        except SourceError as error:
            return error.message.replace(root, "").split(" /in")[0].split(": ")[0]
        return str(scan.schema), [
            (each.path.removeprefix(root), each.size, each.partition) for each in scan.files
        ]

    given = {"format": "csv", "schema": "c STRING", "options": options}
    unlike = {}
    for path in PATHS:
        here = found(
            path, str(tmp_path), lambda p: FilesSource.model_validate({"type": "files", "path": p, **given})
        )
        there = found(path, bucket.url, lambda p: source(p, **given))
        if here != there and not (isinstance(here, str) and isinstance(there, str)):
            unlike[path] = (here, there)
    assert not unlike


def test_a_path_behind_which_are_no_certain_objects_is_named(
    bucket: Bucket, source: Make, s3_server: S3Server
) -> None:
    bucket.put("in/a.csv", "1\n")
    bucket.put("in/[ab].csv", "1\n")
    for path, words in {
        f"{bucket.url}/in/[ab].csv": "one file and a pattern that others fit",
        f"{bucket.url}/on": "there is no object or prefix",
        f"{bucket.url}/in/b.csv": "there is no object or prefix",
        f"{bucket.url}/in/*.json": "no object fits the pattern",
        f"{bucket.url}x/in": "NoSuchBucket",
    }.items():
        with pytest.raises(SourceError, match=words) as caught:
            source(path, format="csv").describe(None)
        assert path in str(caught.value)
        assert caught.value.hint


def test_many_objects_are_listed_page_by_page(
    bucket: Bucket, source: Make, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(11):
        bucket.put(f"in/{number:02d}.csv", f"{number}\n")
    monkeypatch.setattr(listing, "PAGE", 4)
    s3_server.requests.clear()
    scan = source(f"{bucket.url}/in", schema="k INT", format="csv").describe(None)
    assert len([line for line in s3_server.requests if "list-type=2" in line and "prefix=in%2F" in line]) == 3
    assert [row[0] for row in rows(scan)] == list(range(11))


# Versions


def test_another_version_is_never_read(bucket: Bucket, source: Make) -> None:
    bucket.put("a.csv", "1\n2\n")
    made = source(f"{bucket.url}/a.csv", schema="k INT")
    scan = made.describe(None)
    bucket.put("a.csv", "3\n4\n")
    with pytest.raises(SourceError, match=r"a\.csv changed while it was read"):
        rows(scan)
    assert made.identity(scan) != made.identity(made.describe(None))
    bucket.put("a.csv", "1\n2\n")
    assert made.identity(scan) == made.identity(made.describe(None))
    bucket.client.delete_object(Bucket=bucket.name, Key="a.csv")
    with pytest.raises(SourceError, match=r"a\.csv is not there any more"):
        rows(scan)


def test_a_service_that_knows_no_conditions_is_not_believed(
    bucket: Bucket, source: Make, monkeypatch: Any
) -> None:
    bucket.put("a.csv", "1\n2\n")
    scan = source(f"{bucket.url}/a.csv", schema="k INT").describe(None)
    bucket.put("a.csv", "3\n4\n")
    call = type(scan.files[0].store).call

    def unconditional(self: Any, *words: Any, **parameters: Any) -> Any:
        parameters.pop("IfMatch", None)
        return call(self, *words, **parameters)

    monkeypatch.setattr(type(scan.files[0].store), "call", unconditional)
    with pytest.raises(SourceError, match="changed while it was read"):
        rows(scan)


# What is fetched


def asked(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the ranges that are fetched from now on."""
    sizes: list[int] = []
    fetch = reading.fetch

    def counted(account: Any, file: Any, start: int, end: int) -> bytes:
        sizes.append(end - start)
        return fetch(account, file, start, end)

    monkeypatch.setattr(reading, "fetch", counted)
    return sizes


def test_of_parquet_only_what_is_asked_for_is_fetched(
    tmp_path: Path, bucket: Bucket, source: Make, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = pl.DataFrame({"k": range(200_000)}).with_columns(v=pl.col("k").hash().cast(pl.String))
    wide.write_parquet(tmp_path / "w.parquet", row_group_size=50_000, compression="uncompressed")
    body = (tmp_path / "w.parquet").read_bytes()
    assert len(body) > 5_000_000
    bucket.put("w.parquet", body)
    sizes = asked(s3_server, monkeypatch)
    scan = source(f"{bucket.url}/w.parquet").describe(None)
    assert sum(sizes) <= 2 * reading.FIRST
    assert len(row_groups(scan.files[0])) == 4
    sizes.clear()
    assert scan_files(scan).select(pl.col("k").sum()).collect().item() == sum(range(200_000))
    assert sum(sizes) < len(body) / 2


def test_parquet_is_fetched_a_row_group_at_a_time(
    bucket: Bucket, source: Make, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = io.BytesIO()
    pl.DataFrame({"k": range(400_000)}).write_parquet(
        body, row_group_size=100_000, compression="uncompressed"
    )
    bucket.put("a.parquet", body.getvalue())
    scan = source(f"{bucket.url}/a.parquet").describe(None)
    sizes = asked(s3_server, monkeypatch)
    frames = parquet.batches(scan.files[0], scan.schema, ["k"])
    next(frames)
    assert sum(sizes) < len(body.getvalue()) / 2
    assert sum(frame.height for frame in frames) < 400_000


def test_every_read_gives_all_that_is_asked_for(
    bucket: Bucket, source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "FIRST", 100)
    monkeypatch.setattr(reading, "PART", 400)
    body = os.urandom(5_000)
    bucket.put("a.csv", body)
    chosen = random.Random(7)
    with source(f"{bucket.url}/a.csv", schema="k INT").describe(None).files[0].open() as stream:
        for _ in range(60):
            place, size = chosen.randrange(5_200), chosen.randrange(1_500)
            if chosen.random() < 0.5:
                stream.seek(place)
            place = stream.tell()
            assert stream.read(size) == body[place : place + size]


def test_text_is_streamed_in_bounded_pieces(
    bucket: Bucket, source: Make, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "FIRST", 1_000)
    monkeypatch.setattr(reading, "PART", 16_000)
    text = ROWS.write_csv()
    bucket.put("a.csv.gz", gzip.compress(text.encode(), 0))
    bucket.put("a.csv", text)
    sizes = asked(s3_server, monkeypatch)
    for name in ("a.csv", "a.csv.gz"):
        sizes.clear()
        scan = source(f"{bucket.url}/{name}", schema="k INT, v STRING", options={"header": True}).describe(
            None
        )
        assert rows(scan) == ROWS.rows()
        assert max(sizes) <= 16_000
        assert sum(sizes) <= len(text) + 2_000, "fetched more than once"


def test_large_ranges_are_fetched_in_parts(
    bucket: Bucket, source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PART", 1_000)
    body = os.urandom(10_500)
    bucket.put("a.csv", body)
    with source(f"{bucket.url}/a.csv", schema="k INT").describe(None).files[0].open() as stream:
        stream.seek(17)
        assert stream.read(10_000) == body[17:10_017]
        assert stream.read() == body[10_017:]
        stream.seek(-3, os.SEEK_END)
        assert stream.read(10) == body[-3:]
        assert stream.read(10) == b""


# Faults that pass


BROKEN = {
    "500": {"status": 500},
    "SlowDown": {"status": 503, "code": "SlowDown"},
    "a reset": {"status": 0},
    "a reset in the answer": {"status": 0, "after": True},
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.avro"])
def test_what_passes_is_tried_again(
    how: str, name: str, tmp_path: Path, bucket: Bucket, source: Make, s3_server: S3Server
) -> None:
    write(tmp_path, name)
    bucket.put(name, (tmp_path / name).read_bytes())
    given = {"schema": "k BIGINT, v STRING", "options": {"header": True}} if name == "a.csv" else {}
    made = source(f"{bucket.url}/{name}", **given)
    faults = [s3_server.break_down("GET", "list-type=2", status=BROKEN[how]["status"])]
    scan = made.describe(None)
    faults.append(s3_server.break_down("GET", f"/{name}", times=2, **BROKEN[how]))
    assert rows(scan) == ROWS.rows()
    assert all(fault.struck == fault.times for fault in faults)


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.avro"])
def test_what_does_not_pass_may_be_tried_again_later(
    name: str, tmp_path: Path, bucket: Bucket, source: Make, s3_server: S3Server
) -> None:
    write(tmp_path, name)
    bucket.put(name, (tmp_path / name).read_bytes())
    given = {"schema": "k BIGINT, v STRING", "options": {"header": True}} if name == "a.csv" else {}
    made = source(f"{bucket.url}/{name}", **given)
    scan = made.describe(None)
    s3_server.break_down("GET", f"/{name}", status=503, code="SlowDown", times=1_000)
    with pytest.raises(Retryable, match=f"SlowDown.*reading s3://.*{name}") as caught:
        rows(scan)
    assert caught.value.endpoint == made.endpoint() == f"s3 127.0.0.1:{s3_server.port}"


def test_a_service_that_is_not_there_is_said_so(bucket: Bucket, source: Make) -> None:
    made = source(f"{bucket.url}/a.csv", schema="k INT", s3={"endpoint": "http://127.0.0.1:9"})
    with pytest.raises(Retryable, match=r"s3 127\.0\.0\.1:9 failed .EndpointConnectionError."):
        made.describe(None)


# Accounts


def test_two_accounts_work_at_the_same_time_and_see_their_own(
    tmp_path: Path, bucket: Bucket, other: Account, source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    theirs = other.bucket()
    bucket.put("a.csv", "1,a\n2,b\n")
    theirs.put("b.csv", "1,x\n2,y\n")
    service = {"endpoint": other.server.endpoint}
    Pipeline.from_dict(
        {
            "name": "two",
            "extract": {
                "one": {"type": "files", "path": f"{bucket.url}/a.csv", "schema": "k INT, a STRING", "credential": "lake", "s3": service},
                "two": {"type": "files", "path": f"{theirs.url}/b.csv", "schema": "k INT, b STRING", "credential": "other", "s3": service},
            },
            "transform": [{"type": "join", "from": "one", "with": "two", "on": "k"}],
            "load": {"type": "files", "path": "out"},
        }
    ).run()  # fmt: skip
    assert pq.read_table("out").sort_by("k").to_pylist() == [
        {"k": 1, "a": "a", "b": "x"},
        {"k": 2, "a": "b", "b": "y"},
    ]
    for credential, closed in (("lake", theirs), ("other", bucket)):
        with pytest.raises(
            SourceError, match=f"AccessDenied\nhint: what may the credential '{credential}' do"
        ):
            source(f"{closed.url}/", format="csv", schema="k INT", credential=credential).describe(None)


def test_keys_that_were_changed_are_taken_up(
    bucket: Bucket, other: Account, source: Make, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = other.bucket()
    theirs.put("a.csv", "1\n2\n")
    made = source(f"{theirs.url}/a.csv", schema="k INT", credential="other")
    scan = made.describe(None)
    s3_server.revoked.add(other.access_key_id)
    with pytest.raises(
        CredentialError, match="refuses the keys of the credential 'other': InvalidAccessKeyId"
    ):
        rows(scan)
    fresh = other.client("iam")
    s3_server.revoked.clear()
    key = fresh.create_access_key(UserName="etl")["AccessKey"]
    s3_server.revoked.add(other.access_key_id)
    keep(monkeypatch, "other", access_key_id=key["AccessKeyId"], secret_access_key=key["SecretAccessKey"])
    assert rows(scan) == [(1,), (2,)]


def test_a_role_is_asked_for_again_before_it_ends(
    bucket: Bucket, other: Account, source: Make, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = other.bucket()
    theirs.put("a.csv", "1\n2\n")
    keep(monkeypatch, "role", role_arn=f"arn:aws:iam::{other.number}:role/etl", external_id="x1")
    keep(monkeypatch, "role", access_key_id="AKIASOMEONEELSE00000", secret_access_key="c4n4ry")
    assumed = login._assumed
    asked: list[str] = []

    def soon_over(account: Any) -> dict[str, str]:
        found = assumed(account)
        asked.append(found["access_key"])
        # The driver asks again for keys that have less than ten minutes left.
        left = timedelta(seconds=5) if len(asked) < 3 else timedelta(hours=1)
        return {**found, "expiry_time": (datetime.now(UTC) + left).isoformat()}

    monkeypatch.setattr(login, "_assumed", soon_over)
    scan = source(f"{theirs.url}/a.csv", schema="k INT", credential="role").describe(None)
    assert rows(scan) == rows(scan) == [(1,), (2,)]
    assert len(set(asked)) == len(asked) == 3


def test_a_role_that_is_refused_is_said_so(
    bucket: Bucket, source: Make, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(monkeypatch, "refused", role_arn="arn:aws:iam::999999999999:role/etl")
    keep(monkeypatch, "refused", access_key_id="AKIASOMEONEELSE00000", secret_access_key="c4n4ry")
    s3_server.break_down("POST", status=403, code="AccessDenied", times=9)
    with pytest.raises(
        CredentialError, match="the role of the credential 'refused' was refused: AccessDenied"
    ):
        source(f"{bucket.url}/a.csv", schema="k INT", credential="refused").describe(None)


def test_without_a_credential_the_login_of_the_machine_is_taken(
    bucket: Bucket, s3_account: Account, source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.csv", "1\n2\n")
    made = source(f"{bucket.url}/a.csv", schema="k INT", credential=None)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", "/nowhere")
    with pytest.raises(CredentialError, match="no keys for S3 were found on this machine"):
        made.describe(None)
    login_again()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_account.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_account.secret_access_key)
    assert rows(made.describe(None)) == [(1,), (2,)]
    login_again()


def test_a_credential_without_keys_lists_its_fields(bucket: Bucket, source: Make, monkeypatch: Any) -> None:
    keep(monkeypatch, "half", access_key_id="AKIAEXAMPLE", password="c4n4ry")
    with pytest.raises(
        CredentialError, match="has no field 'secret_access_key'\nhint: its fields are: access_key_id"
    ):
        source(f"{bucket.url}/a.csv", schema="k INT", credential="half").describe(None)


def test_without_the_driver_it_says_what_to_type(bucket: Bucket, source: Make, monkeypatch: Any) -> None:
    login_again()
    for name in [name for name in sys.modules if name.split(".")[0] in ("boto3", "botocore")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.setitem(sys.modules, "botocore", None)
    with pytest.raises(SourceError, match=re.escape("pip install 'rayetl[s3]'")):
        source(f"{bucket.url}/a.csv", schema="k INT").describe(None)


# Runs


@pytest.fixture
def pipeline(
    tmp_path: Path, bucket: Bucket, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> Pipeline:
    monkeypatch.chdir(tmp_path)
    return Pipeline.from_dict(
        {
            "name": "from_s3",
            "extract": {
                "type": "files",
                "path": f"{bucket.url}/in/*.csv",
                "schema": "k INT, v STRING",
                "options": {"header": True},
                "credential": "lake",
                "s3": {"endpoint": s3_server.endpoint},
            },
            "transform": [{"type": "validate", "rules": [{"name": "small", "check": "k < 100"}]}],
            "load": {"type": "files", "path": "out", "mode": "append"},
            "resilience": {"retry": {"max_attempts": 3, "initial_delay": "1ms"}},
        }
    )


def test_a_run_keeps_rejects_and_knows_its_inputs(
    pipeline: Pipeline, bucket: Bucket, s3_account: Account
) -> None:
    bucket.put("in/a.csv", "k,v\n1,a\nx,b\n100,c\n")
    bucket.put("in/b.csv", "k,v\n2,d\n")
    report = pipeline.run()
    assert (report.rows_read, report.rows_loaded, report.rejected_rows) == (4, 2, 2)
    letters = pipeline.dead_letters.read().sort("row").collect()
    assert letters["record"].to_list() == [b"x,b", b"100,c"]
    assert letters["file"].to_list() == [f"{bucket.url}/in/a.csv"] * 2
    assert pipeline.run().status == "skipped"
    bucket.put("in/b.csv", "k,v\n3,d\n")
    assert pipeline.run().status == "done"
    assert s3_account.secret_access_key.encode() not in report.to_json()


def test_a_run_tries_again_what_the_driver_gave_up(
    pipeline: Pipeline, bucket: Bucket, s3_server: S3Server
) -> None:
    bucket.put("in/a.csv", "k,v\n1,a\n")
    fault = s3_server.break_down("GET", "/in/a.csv", status=500, times=login.ATTEMPTS)
    report = pipeline.run()
    assert (report.status, report.retries, fault.struck) == ("done", 1, login.ATTEMPTS)


def test_splits_travel_without_secrets(
    tmp_path: Path, bucket: Bucket, s3_account: Account, s3_server: S3Server
) -> None:
    write(tmp_path, "a.parquet")
    bucket.put("in/a.parquet", (tmp_path / "a.parquet").read_bytes())
    plan = Pipeline.from_dict(
        {
            "name": "cut",
            "extract": {
                "type": "files",
                "path": f"{bucket.url}/in",
                "format": "parquet",
                "credential": "lake",
                "s3": {"endpoint": s3_server.endpoint},
            },
            "load": {"type": "files", "path": str(tmp_path / "out")},
        }
    ).plan()
    assert not reads_alike(plan.sources[0].scan), "Spark has no credential to read it with"
    packed = pickle.dumps(plan)
    for secret in s3_account.fields.values():
        assert secret.encode() not in packed
    plan = pickle.loads(packed)
    splits = cut(plan, 2_000)
    assert isinstance(splits, Splits)
    assert len(splits.parts) == 4
    parts = [splits.plan_of(plan, part).sources[0].scan for part in splits.parts]
    assert [row for part in parts for row in rows(part)] == ROWS.rows()
