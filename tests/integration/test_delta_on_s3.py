"""What is peculiar to Delta tables in buckets: whose keys open them, and what is said when something fails.
Modes and types are asked of them beside all other tables in `test_lakes.py`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from lakes import DeltaOnS3, numbers
from services.s3 import Account, Bucket, S3Server, keep

from rayetl import Pipeline
from rayetl.connectors.delta import session
from rayetl.errors import ConfigError, CredentialError, LoadError, RayetlError, Retryable


@pytest.fixture
def lake(bucket: Bucket, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DeltaOnS3:
    monkeypatch.chdir(tmp_path)
    return DeltaOnS3(bucket, s3_server)


def test_a_version_of_the_past_is_read(lake: DeltaOnS3) -> None:
    lake.load(numbers(1), mode="append")
    lake.load(numbers(2), mode="append")
    lake.load(numbers(3), mode="overwrite")
    assert sorted(lake.read(version=1)["id"]) == [1, 2]
    assert lake.read()["id"].to_list() == [3]
    with pytest.raises(ConfigError, match="has no version 9: the newest one is 2"):
        lake.read(version=9)
    assert sorted(lake.read(timestamp="2999-01-01T00:00:00Z")["id"]) == [3]


def test_two_accounts_work_at_the_same_time_and_see_their_own(
    lake: DeltaOnS3, other: Account, s3_server: S3Server
) -> None:
    theirs = DeltaOnS3(other.bucket(), s3_server)
    theirs.settings["credential"] = "other"
    lake.load(numbers(1, 2), mode="append")
    theirs.load(numbers(2, 3), mode="append")
    Pipeline.from_dict(
        {
            "name": "two",
            "extract": {"one": lake.settings, "two": theirs.settings},
            "transform": [{"type": "join", "from": "one", "with": "two", "on": "id", "how": "semi"}],
            "load": [
                {**lake.settings, "id": "mine", "mode": "append"},
                {**theirs.settings, "id": "yours", "mode": "append"},
            ],
        }
    ).run()
    assert sorted(lake.seen()["id"]) == [1, 2, 2]
    assert sorted(theirs.seen()["id"]) == [2, 2, 3]
    closed = {**theirs.settings, "credential": "lake"}
    with pytest.raises(ConfigError, match="AccessDenied"):
        Pipeline.from_dict({**lake.source(), "extract": closed}).run()
    with pytest.raises(LoadError, match="AccessDenied"):
        lake.load(numbers(4), mode="append", path=closed["path"])
    assert sorted(theirs.seen()["id"]) == [2, 2, 3]


def test_keys_that_were_changed_are_taken_up(
    lake: DeltaOnS3, other: Account, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = DeltaOnS3(other.bucket(), s3_server)
    theirs.settings["credential"] = "other"
    theirs.load(numbers(1), mode="append")
    key = other.client("iam").create_access_key(UserName="etl")["AccessKey"]
    s3_server.revoked.add(other.access_key_id)
    with pytest.raises(CredentialError, match="refuses the keys of the credential 'other'") as caught:
        theirs.load(numbers(2), mode="append")
    assert other.secret_access_key not in f"{caught.value} {caught.value.hint}"
    keep(monkeypatch, "other", access_key_id=key["AccessKeyId"], secret_access_key=key["SecretAccessKey"])
    assert theirs.load(numbers(2), mode="append").rows_loaded == 1
    assert sorted(theirs.read()["id"]) == [1, 2]


@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_keys_that_are_changed_while_files_are_sent_are_taken_up(
    mode: str, other: Account, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    theirs = DeltaOnS3(other.bucket(), s3_server)
    theirs.settings["credential"] = "other"
    theirs.load(numbers(1), mode="append")
    key = other.client("iam").create_access_key(UserName="etl")["AccessKey"]
    written, tries = session.write, []

    def changed(*given: Any) -> None:
        tries.append(given)
        s3_server.revoked.add(other.access_key_id)
        keep(monkeypatch, "other", access_key_id=key["AccessKeyId"], secret_access_key=key["SecretAccessKey"])
        written(*given)

    monkeypatch.setattr(session, "write", changed)
    keys = {"keys": "id"} if mode == "upsert" else {}
    report = theirs.load(numbers(2), mode=mode, **keys)
    assert (report.rows_loaded, report.retries, len(tries)) == (1, 0, 2)
    assert sorted(theirs.read()["id"]) == [1, 2]


def test_a_role_sends_its_token_along(
    lake: DeltaOnS3, other: Account, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = DeltaOnS3(other.bucket(), s3_server)
    theirs.settings["credential"] = "role"
    keep(monkeypatch, "role", role_arn=f"arn:aws:iam::{other.number}:role/etl")
    keep(monkeypatch, "role", access_key_id="AKIASOMEONEELSE00000", secret_access_key="c4n4ry")
    tokens: set[str | None] = set()
    served = s3_server._served

    def listening(environ: dict[str, Any], start: Any) -> Any:
        if "_delta_log" in environ["PATH_INFO"]:
            tokens.add(environ.get("HTTP_X_AMZ_SECURITY_TOKEN"))
        return served(environ, start)

    monkeypatch.setattr(s3_server, "_served", listening)
    # The library would send what the environment of a person who is logged in says.
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t0ken-of-somebody-else")
    theirs.load(numbers(1), mode="append")
    assert theirs.read()["id"].to_list() == [1]
    assert len(tokens) == 1
    assert tokens.isdisjoint({None, "t0ken-of-somebody-else"})


@pytest.mark.parametrize("name", ["AWS_SESSION_TOKEN", "token"])
def test_a_token_of_somebody_else_is_not_sent_along(
    lake: DeltaOnS3, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "t0ken-of-somebody-else")
    with pytest.raises(CredentialError, match=f"the environment variable {name} would be sent") as caught:
        lake.load(numbers(1), mode="append")
    assert "t0ken" not in f"{caught.value} {caught.value.hint}"
    assert caught.value.hint == f"run without it: `env -u {name} rayetl run ...`"


def test_all_objects_are_protected_as_the_config_says(lake: DeltaOnS3) -> None:
    service = lake.settings["s3"]
    wanted = {"encryption": "aws:kms", "kms_key": "alias/lake"}
    lake.settings["s3"] = {**service, **wanted}
    lake.load(numbers(1, 2), mode="append")
    lake.load(numbers(2, 3), mode="upsert", keys="id")
    keys = lake.bucket.keys("lake/", hidden=True)
    assert sum("_delta_log" in key for key in keys) == 2
    for key in keys:
        head = lake.bucket.client.head_object(Bucket=lake.bucket.name, Key=key)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/lake"), key


def test_what_is_not_there_is_named(lake: DeltaOnS3, s3_server: S3Server) -> None:
    with pytest.raises(ConfigError, match="there is no Delta table at") as caught:
        lake.read()
    assert f"there is no object below {lake.bucket.url}/lake/_delta_log/" in str(caught.value)
    with pytest.raises(LoadError, match="NoSuchBucket"):
        lake.load(numbers(1), mode="append", path="s3://nobodys-bucket/lake")
    lake.bucket.put("lake/mine.txt", "mine")
    with pytest.raises(LoadError, match=r"holds files that belong to no Delta table, as mine\.txt"):
        lake.load(numbers(1), mode="append")


def test_a_service_that_fails_may_be_asked_again_later(lake: DeltaOnS3, s3_server: S3Server) -> None:
    lake.load(numbers(1), mode="append")
    s3_server.break_down("PUT", "_delta_log", status=503, times=99)
    retry = {"max_attempts": 1}
    numbers(2).write_parquet("more.parquet")
    config = {
        "name": "p",
        "extract": {"type": "files", "path": "more.parquet"},
        "load": {"id": "lake", **lake.settings, "mode": "append"},
        "resilience": {"retry": retry},
    }
    with pytest.raises(Retryable, match="503 Service Unavailable"):
        Pipeline.from_dict(config).run()
    s3_server.mend()
    assert Pipeline.from_dict(config).run().rows_loaded == 1
    assert sorted(lake.seen()["id"]) == [1, 2]


def test_a_service_that_ignores_conditions_is_refused(lake: DeltaOnS3, s3_server: S3Server) -> None:
    refused = pytest.raises(LoadError, match="ignores the condition If-None-Match")
    with s3_server.ignoring_conditions(), refused:
        lake.load(numbers(1), mode="append")
    assert lake.bucket.keys("lake/") == lake.bucket.uploads() == []


def test_no_secret_is_in_any_error(
    lake: DeltaOnS3, s3_account: Account, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.load(numbers(1), mode="append")
    secrets = (s3_account.secret_access_key, s3_account.access_key_id)
    faults = [
        ("GET", {"status": 403, "code": "AccessDenied"}),
        ("PUT", {"status": 403, "code": "AccessDenied"}),
        ("GET", {"status": 500}),
        ("PUT", {"status": 500}),
        ("GET", {"status": 0}),
    ]
    for method, how in faults:
        s3_server.break_down(method, "_delta_log", times=99, **how)
        with pytest.raises(RayetlError) as caught:
            lake.load(numbers(2), mode="append", force=True, attempts=1)
        error: BaseException | None = caught.value
        while error is not None:
            shown = f"{error!r} {error} {getattr(error, 'hint', '')}"
            assert not [secret for secret in secrets if secret in shown]
            error = error.__cause__
        assert not re.search(r"\x1b\[", str(caught.value))
        s3_server.mend()
    assert lake.seen().height == 1


def test_files_of_other_partitions_are_not_fetched(lake: DeltaOnS3, s3_server: S3Server) -> None:
    for start in range(0, 40, 10):
        rows = pl.DataFrame({"id": range(start, start + 10), "p": [str(start)] * 10})
        lake.load(rows, mode="append", partition_by="p")
    config = lake.source()
    config["transform"] = [{"type": "filter", "where": "p = '20' AND id > 25"}]
    s3_server.requests.clear()
    assert Pipeline.from_dict(config).run().rows_loaded == 4
    assert any("p=20/" in request for request in s3_server.requests)
