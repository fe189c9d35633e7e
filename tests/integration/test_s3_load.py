"""Files on S3 as a load, against a real service, by runs of whole pipelines; an outsider reads the bucket."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.retries.standard
import fastavro
import polars as pl
import pytest
from services.s3 import Account, Bucket, S3Server

from rayetl import Pipeline
from rayetl.connectors.s3 import login, sending
from rayetl.errors import BooksError, CommitConflict, LoadError, Retryable

Make = Callable[..., Pipeline]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver waits a second and more before it sends a request again."""
    delay = botocore.retries.standard.ExponentialBackoff
    monkeypatch.setattr(delay, "delay_amount", lambda self, context: 0)


@pytest.fixture
def pipeline(bucket: Bucket, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A pipeline that loads the rows (k, v) of `in.csv` into the prefix `out`."""
    monkeypatch.chdir(tmp_path)

    def made(rows: str = "1,a\n2,b\n3,a\n", **load: Any) -> Pipeline:
        if not Path("in.csv").exists() or Path("in.csv").read_text() != rows:
            Path("in.csv").write_text(rows)
        return Pipeline.from_dict(
            {
                "name": "into_s3",
                "extract": {"type": "files", "path": "in.csv", "schema": "k INT, v STRING"},
                "load": {
                    "type": "files",
                    "path": f"{bucket.url}/out/",
                    "credential": "lake",
                    "s3": {"endpoint": s3_server.endpoint},
                    **load,
                },
                "resilience": {"retry": {"max_attempts": 3, "initial_delay": "1ms"}},
            }
        )

    return made


def rows(bucket: Bucket, prefix: str = "out/") -> list[tuple[Any, ...]]:
    """What is in the bucket, read without rayetl."""
    found: list[tuple[Any, ...]] = []
    for key in bucket.keys(prefix):
        body = bucket.get(key)
        if key.endswith(".parquet"):
            found += pl.read_parquet(io.BytesIO(body)).rows()
        elif key.endswith(".csv"):
            found += pl.read_csv(io.BytesIO(body)).rows()
        elif key.endswith(".json"):
            found += [tuple(json.loads(line).values()) for line in body.splitlines()]
        else:
            found += [tuple(row.values()) for row in fastavro.reader(io.BytesIO(body))]
    return sorted(found)


@pytest.mark.parametrize("file_format", ["parquet", "csv", "json", "avro"])
def test_every_format_is_loaded_once(file_format: str, pipeline: Make, bucket: Bucket) -> None:
    # The reader of Avro that judges here knows no other codec.
    made = pipeline(
        format=file_format, mode="append", compression="deflate" if file_format == "avro" else None
    )
    report = made.run()
    assert (report.status, report.rows_loaded) == ("done", 3)
    assert report.loads[0].location == f"{bucket.url}/out"
    assert report.loads[0].bytes == sum(len(bucket.get(key)) for key in bucket.keys("out/"))
    assert rows(bucket) == [(1, "a"), (2, "b"), (3, "a")]
    assert made.run().status == "skipped"
    assert rows(bucket) == [(1, "a"), (2, "b"), (3, "a")]
    assert bucket.uploads() == []


def test_append_keeps_what_is_there(pipeline: Make, bucket: Bucket) -> None:
    bucket.put("out/theirs.csv", "k,v\n9,z\n")
    for text in ("1,a\n", "2,b\n"):
        assert pipeline(text, mode="append", format="csv").run().status == "done"
    assert rows(bucket) == [(1, "a"), (2, "b"), (9, "z")]


def test_overwrite_replaces_what_is_there(pipeline: Make, bucket: Bucket) -> None:
    bucket.put("out/theirs.parquet", b"")
    bucket.put("out/_kept/x", "1")
    bucket.put("outer/x.parquet", b"")
    for text in ("1,a\n", "2,b\n"):
        assert pipeline(text, mode="overwrite").run().status == "done"
    assert rows(bucket) == [(2, "b")]
    assert bucket.get("out/_kept/x") == b"1"
    assert bucket.keys("outer/") == ["outer/x.parquet"]
    assert pipeline("1,a\n", mode="overwrite").run().status == "done", "its rows were replaced meanwhile"
    assert rows(bucket) == [(1, "a")]


def test_modes_that_want_an_empty_place(pipeline: Make, bucket: Bucket) -> None:
    bucket.put("out/theirs.parquet", b"x")
    assert pipeline(mode="ignore").run().loads[0].status == "ignored"
    with pytest.raises(LoadError, match="out holds data already and the mode is error_if_exists"):
        pipeline().run()
    bucket.client.delete_object(Bucket=bucket.name, Key="out/theirs.parquet")
    made = pipeline()
    assert made.run().status == "done"
    assert made.run().status == "skipped"
    assert pipeline("5,e\n", mode="ignore").run().loads[0].status == "ignored"
    assert rows(bucket) == [(1, "a"), (2, "b"), (3, "a")]
    assert not [path for path in Path(".rayetl/staging").glob("*/*") if path.name != "lock"]


def test_partitions_and_file_sizes(pipeline: Make, bucket: Bucket) -> None:
    text = "".join(f"{k},{'a/ü' if k % 2 else ''}\n" for k in range(2_000))
    pipeline(text, mode="append", partition_by="v").run()
    directories = {key.rpartition("/")[0] for key in bucket.keys("out/")}
    assert directories == {"out/v=a%2Fü", "out/v=__HIVE_DEFAULT_PARTITION__"}
    assert len(bucket.keys("out/")) == 2
    back = Pipeline.from_dict(
        {
            "name": "back",
            "extract": {**pipeline().config.load[0].model_dump(include={"credential"}), "type": "files",
                        "path": f"{bucket.url}/out", "format": "parquet", "s3": {"endpoint": os.environ["S3"]}},
            "load": {"type": "files", "path": "back", "format": "csv"},
        }
    )  # fmt: skip
    assert back.run().rows_loaded == 2_000
    found = pl.scan_csv("back/*.csv").group_by("v").len().collect()
    assert sorted(found.rows(), key=str) == [("a/ü", 1_000), (None, 1_000)]


@pytest.fixture(autouse=True)
def _service(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3", s3_server.endpoint)


def test_no_rows_and_no_bytes(pipeline: Make, bucket: Bucket) -> None:
    pipeline("", mode="append", format="csv", options={"header": False}).run()
    assert [bucket.get(key) for key in bucket.keys("out/")] == [b""]
    pipeline("", mode="overwrite", partition_by="v").run()
    assert bucket.keys("out/") == []
    assert pipeline("", mode="overwrite", partition_by="v").run().status == "skipped"


def test_large_files_are_sent_in_parts(
    pipeline: Make, bucket: Bucket, s3_server: S3Server, monkeypatch: Any
) -> None:
    # Smaller parts than this are refused by the service, but for the last.
    monkeypatch.setattr(sending, "PART", 5 << 20)
    text = "".join(f"{k},{'x' * 1_000}{k}\n" for k in range(11_000))
    s3_server.requests.clear()
    pipeline(text, mode="append", format="csv").run()
    assert len([line for line in s3_server.requests if "partNumber=" in line]) == 3
    assert len(rows(bucket)) == 11_000


def test_files_are_protected_as_the_config_says(pipeline: Make, bucket: Bucket, s3_server: S3Server) -> None:
    service = {"endpoint": s3_server.endpoint}
    for wanted in ({"encryption": "AES256"}, {"encryption": "aws:kms", "kms_key": "alias/lake"}):
        pipeline(mode="overwrite", s3={**service, **wanted}).run(force=True)
        for key in [*bucket.keys("out/"), bucket.keys("out/_rayetl/epochs/", hidden=True)[-1]]:
            head = bucket.client.head_object(Bucket=bucket.name, Key=key)
            assert head["ServerSideEncryption"] == wanted["encryption"]
            assert head.get("SSEKMSKeyId") == wanted.get("kms_key")


def test_books_that_do_not_balance_commit_nothing(pipeline: Make, bucket: Bucket, monkeypatch: Any) -> None:
    made = pipeline(mode="append")
    monkeypatch.setattr("rayetl.connectors.files_load._parquet_rows", lambda paths: [2])
    with pytest.raises(BooksError, match=r"3 rows went to .*, but its staged files hold 2"):
        made.run()
    assert bucket.keys("out/") == bucket.uploads() == []


def test_a_damaged_ledger_is_named(pipeline: Make, bucket: Bucket) -> None:
    for text in ("1,a\n", "2,b\n"):
        pipeline(text, mode="append").run()
    whole = bucket.get("out/_rayetl/epochs/000001.json")
    bucket.put("out/_rayetl/epochs/000001.json", whole.replace(b'"rows": 1', b'"rows": 2'))
    with pytest.raises(LoadError, match=r"out/_rayetl/epochs/000001\.json: its checksum does not fit"):
        pipeline(mode="append").run()
    bucket.client.delete_object(Bucket=bucket.name, Key="out/_rayetl/epochs/000001.json")
    with pytest.raises(LoadError, match=r"out/_rayetl/epochs/000001\.json: it is missing"):
        pipeline(mode="append").run()
    bucket.put("out/_rayetl/epochs/000001.json", whole)
    bucket.client.delete_object(Bucket=bucket.name, Key="out/_rayetl/epochs/000002.json")
    with pytest.raises(LoadError, match=r"out/_rayetl/epochs/000002\.json: it is missing"):
        pipeline(mode="append").run()


def test_many_epochs_are_listed_page_by_page(pipeline: Make, bucket: Bucket, monkeypatch: Any) -> None:
    monkeypatch.setattr("rayetl.connectors.s3.listing.PAGE", 2)
    made = pipeline(mode="append")
    for number in range(5):
        assert made.run(run_key=str(number)).status == "done"
    assert made.run(run_key="0").status == "skipped"
    assert len(rows(bucket)) == 15


def test_an_upload_that_a_rule_of_the_bucket_removed_is_told(
    pipeline: Make, bucket: Bucket, s3_server: S3Server
) -> None:
    made = pipeline(mode="append")
    s3_server.break_down("POST", "uploadId=", status=500, times=1_000)
    with pytest.raises(Retryable, match="completing"):
        made.run()
    s3_server.mend()
    (upload,) = bucket.client.list_multipart_uploads(Bucket=bucket.name)["Uploads"]
    bucket.client.abort_multipart_upload(Bucket=bucket.name, Key=upload["Key"], UploadId=upload["UploadId"])
    with pytest.raises(
        LoadError, match="belongs to a committed epoch, but neither it nor its whole upload is there"
    ) as caught:
        made.run()
    assert f"part-000001-* and then {bucket.url}/out/_rayetl/epochs/000001.json" in str(caught.value.hint)
    bucket.client.delete_object(Bucket=bucket.name, Key="out/_rayetl/epochs/000001.json")
    assert made.run().status == "done"
    assert rows(bucket) == [(1, "a"), (2, "b"), (3, "a")]


def test_a_service_that_ignores_conditions_is_refused(
    pipeline: Make, bucket: Bucket, s3_server: S3Server
) -> None:
    with (
        s3_server.ignoring_conditions(),
        pytest.raises(
            LoadError, match="ignores the condition If-None-Match, so that two runs could both commit"
        ),
    ):
        pipeline(mode="append").run()
    assert bucket.keys("out/") == bucket.uploads() == []


@pytest.mark.parametrize(
    ("method", "part", "attempts"),
    [
        ("POST", "uploads", 1),
        ("PUT", "partNumber", 1),
        ("PUT", "epochs", 1),
        ("POST", "uploadId", 1),
        ("PUT", "published", 1),
    ],
)
@pytest.mark.parametrize("after", [False, True])
def test_a_run_goes_on_after_a_service_failed(
    method: str, part: str, attempts: int, after: bool, pipeline: Make, bucket: Bucket, s3_server: S3Server
) -> None:
    fault = s3_server.break_down(method, part, status=503, code="SlowDown", times=login.ATTEMPTS, after=after)
    report = pipeline(mode="append").run()
    assert (report.status, report.rows_loaded) == ("done", 3)
    assert fault.struck == login.ATTEMPTS
    assert rows(bucket) == [(1, "a"), (2, "b"), (3, "a")]


def test_without_the_driver_it_says_what_to_type(pipeline: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("boto3", "botocore")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "botocore", None)
    with pytest.raises(LoadError, match=re.escape("pip install 'rayetl[s3]'")):
        pipeline(mode="append").run()


# Accounts


@pytest.fixture
def other(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """A second account, whose keys are the credential `other`."""
    account = s3_server.account()
    for name, value in account.fields.items():
        monkeypatch.setenv(f"RAYETL_CREDENTIAL_OTHER__{name.upper()}", value)
    yield account
    from rayetl.connectors.s3 import account as cached

    cached._CLIENTS.clear()


def test_one_run_loads_with_two_accounts(
    bucket: Bucket, other: Account, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    theirs, service = other.bucket(), {"endpoint": s3_server.endpoint}
    bucket.put("in/a.csv", "1,a\n")
    config = {
        "name": "across",
        "extract": {
            "type": "files",
            "path": f"{bucket.url}/in",
            "format": "csv",
            "schema": "k INT, v STRING",
            "credential": "lake",
            "s3": service,
        },
        "load": [
            {"type": "files", "path": f"{bucket.url}/out", "credential": "lake", "s3": service},
            {"type": "files", "path": f"{theirs.url}/out", "credential": "other", "s3": service},
        ],
    }
    assert Pipeline.from_dict(config).run().status == "done"
    assert rows(bucket) == rows(theirs) == [(1, "a")]
    config["load"][1] = {**config["load"][1], "path": f"{bucket.url}/not"}
    config["load"][0] = {**config["load"][0], "path": f"{theirs.url}/not"}
    with pytest.raises(LoadError, match=r"refuses .*: AccessDenied\nhint: what may the credential 'lake' do"):
        Pipeline.from_dict(config).run()
    assert bucket.keys("not/") == theirs.keys("not/") == []


@pytest.mark.parametrize("request_", ["begin_upload", "complete", "_size", "data"])
def test_keys_that_are_changed_in_mid_run_are_taken_up(
    request_: str, other: Account, s3_server: S3Server, pipeline: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = other.bucket()
    made = pipeline(path=f"{theirs.url}/out", credential="other", mode="overwrite")
    fresh = other.client("iam").create_access_key(UserName="etl")["AccessKey"]
    asked, calls = getattr(sending.S3Target, request_), []

    def changed(self: Any, *given: Any) -> Any:
        calls.append(given)
        s3_server.revoked.add(other.access_key_id)
        monkeypatch.setenv("RAYETL_CREDENTIAL_OTHER__ACCESS_KEY_ID", fresh["AccessKeyId"])
        monkeypatch.setenv("RAYETL_CREDENTIAL_OTHER__SECRET_ACCESS_KEY", fresh["SecretAccessKey"])
        return asked(self, *given)

    if request_ == "_size":
        # Which is asked for where an upload is gone: it was completed, and the answer got lost.
        s3_server.break_down("POST", "uploadId=", status=404, code="NoSuchUpload", after=True)
    monkeypatch.setattr(sending.S3Target, request_, changed)
    report = made.run()
    assert (report.status, report.retries, report.rows_loaded) == ("done", 0, 3)
    assert calls
    assert not [each for each in s3_server.requests if each.startswith("HEAD") and theirs.name in each], (
        "what is refused in an answer without a body, nobody can tell"
    )
    s3_server.mend()
    assert rows(theirs) == [(1, "a"), (2, "b"), (3, "a")]


# Whole programs


def test_two_programs_at_once_load_an_epoch_once(pipeline: Make, bucket: Bucket, s3_server: S3Server) -> None:
    pipeline()
    Path("p.yaml").write_text(
        f"name: p\nextract: {{type: files, path: in.csv, schema: 'k INT, v STRING'}}\n"
        f"load: {{type: files, path: '{bucket.url}/out', mode: append, credential: lake,\n"
        f"  s3: {{endpoint: '{s3_server.endpoint}', staging: '${{staging}}'}}}}\n"
    )
    command = [sys.executable, "-m", "rayetl", "run", "p.yaml", "--set"]
    started = [
        subprocess.Popen(
            [*command, f"staging=s{number}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for number in range(2)
    ]
    said = [each.communicate(timeout=60) for each in started]
    assert rows(bucket) == [(1, "a"), (2, "b"), (3, "a")], said
    assert {each.returncode for each in started} <= {0, 1}
    assert all(
        "has just committed" in err for each, (_, err) in zip(started, said, strict=True) if each.returncode
    ), said


def test_a_second_run_on_this_machine_is_told_who_loads(pipeline: Make, bucket: Bucket) -> None:
    from rayetl.connectors.base import Epoch
    from rayetl.sql.types import Schema

    load = pipeline(mode="append").config.load[0]
    first, second = (load.open(Epoch("p", "l", key, f"run-{key}"), Schema()) for key in "ab")
    first.begin()
    with pytest.raises(CommitConflict, match=f"run run-a .* is loading into {bucket.url}/out"):
        second.begin()
    first.abort()
    assert second.begin() is not None
    second.abort()
