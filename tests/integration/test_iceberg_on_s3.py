"""What is peculiar to Iceberg tables in buckets: whose keys open them, in which catalogs they stand, and what is
said when something fails. Modes and types are asked of them beside all other tables in `test_lakes.py`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from iceberg_deletes import delete_rows
from lakes import IcebergOnS3, numbers
from services.iceberg_rest import IcebergRest
from services.postgres import Database
from services.s3 import Account, Bucket, S3Server, keep

from rayetl import Pipeline
from rayetl.errors import ConfigError, CredentialError, LoadError, RayetlError, Retryable, SourceError


@pytest.fixture
def lake(bucket: Bucket, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> IcebergOnS3:
    monkeypatch.chdir(tmp_path)
    return IcebergOnS3(bucket, s3_server)


@pytest.fixture
def theirs(lake: IcebergOnS3, other: Account, s3_server: S3Server) -> IcebergOnS3:
    """A table of another account, in a catalog of its own."""
    made = IcebergOnS3(other.bucket(), s3_server)
    made.settings["credential"] = None
    made.settings["catalog"]["name"] = "theirs"
    made.settings["s3"]["credential"] = "other"
    return made


# Accounts


def test_two_accounts_work_at_the_same_time_and_see_their_own(lake: IcebergOnS3, theirs: IcebergOnS3) -> None:
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
    assert sorted(lake.read()["id"]) == [1, 2, 2]
    assert sorted(theirs.read()["id"]) == [2, 2, 3]
    closed = {**theirs.settings["s3"], "credential": "lake"}
    with pytest.raises(ConfigError, match="AccessDenied"):
        theirs.read(s3=closed)
    with pytest.raises(LoadError, match="AccessDenied"):
        theirs.load(numbers(4), mode="append", s3=closed)
    assert sorted(theirs.read()["id"]) == [2, 2, 3]


def test_keys_that_were_changed_are_taken_up(
    theirs: IcebergOnS3, other: Account, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs.load(numbers(1), mode="append")
    key = other.client("iam").create_access_key(UserName="etl")["AccessKey"]
    s3_server.revoked.add(other.access_key_id)
    with pytest.raises(CredentialError, match="refuses the keys of the credential 'other'") as caught:
        theirs.load(numbers(2), mode="append")
    assert other.secret_access_key not in f"{caught.value} {caught.value.hint}"
    keep(monkeypatch, "other", access_key_id=key["AccessKeyId"], secret_access_key=key["SecretAccessKey"])
    assert theirs.load(numbers(2), mode="append").rows_loaded == 1
    assert sorted(theirs.read()["id"]) == [1, 2]


def test_a_role_sends_its_token_along(
    theirs: IcebergOnS3, other: Account, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs.settings["s3"]["credential"] = "role"
    keep(monkeypatch, "role", role_arn=f"arn:aws:iam::{other.number}:role/etl")
    keep(monkeypatch, "role", access_key_id="AKIASOMEONEELSE00000", secret_access_key="c4n4ry")
    tokens: set[str | None] = set()
    served = s3_server._served

    def listening(environ: dict[str, Any], start: Any) -> Any:
        if "/tables/shop/" in environ["PATH_INFO"]:
            tokens.add(environ.get("HTTP_X_AMZ_SECURITY_TOKEN"))
        return served(environ, start)

    monkeypatch.setattr(s3_server, "_served", listening)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t0ken-of-somebody-else")
    theirs.load(numbers(1), mode="append")
    assert theirs.read()["id"].to_list() == [1]
    assert len(tokens) == 1
    assert tokens.isdisjoint({None, "t0ken-of-somebody-else"})


def test_a_table_does_not_say_which_service_gets_the_requests(lake: IcebergOnS3) -> None:
    """Properties of a table are by whoever may write it."""
    lake.load(numbers(1), mode="append")
    newest = lake.table().metadata_location.removeprefix(f"{lake.bucket.url}/")
    metadata = json.loads(lake.bucket.get(newest))
    metadata["properties"] |= {"s3.endpoint": "http://127.0.0.1:1", "py-io-impl": "os.system"}
    lake.bucket.put(newest, json.dumps(metadata))
    assert lake.read()["id"].to_list() == [1]
    lake.load(numbers(2), mode="append")
    assert sorted(lake.read()["id"]) == [1, 2]


def test_all_objects_are_protected_as_the_config_says(lake: IcebergOnS3) -> None:
    lake.settings["s3"] |= {"encryption": "aws:kms", "kms_key": "alias/lake"}
    lake.load(numbers(1, 2), mode="append")
    lake.load(numbers(2, 3), mode="upsert", keys="id")
    keys = lake.bucket.keys("tables/", hidden=True)
    assert sum("/metadata/" in key for key in keys) >= 6
    assert sum("/data/" in key for key in keys) == 3
    for key in keys:
        head = lake.bucket.client.head_object(Bucket=lake.bucket.name, Key=key)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/lake"), key


# Catalogs


@pytest.fixture
def rest(
    lake: IcebergOnS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[IcebergRest, dict[str, Any]]]:
    """A catalog service that wants a token and keeps its tables in the bucket, and how a config names it."""
    monkeypatch.setenv("RAYETL_CREDENTIAL_SERVICE__TOKEN", "canary-7f3a")
    service = IcebergRest(tmp_path / "service", token="canary-7f3a", tables=lake.catalog().properties)
    yield service, {"catalog": {"type": "rest", "uri": service.uri}, "credential": "service"}
    service.stop()


def test_a_catalog_service_says_where_tables_lie(
    lake: IcebergOnS3, rest: tuple[IcebergRest, dict[str, Any]]
) -> None:
    service, through = rest
    lake.load(numbers(1, 2), mode="append", key="a", partition_by="bucket(2, id)", **through)
    lake.load(numbers(2, 3), mode="upsert", keys="id", **through)
    assert lake.load(numbers(1, 2), mode="append", key="a", **through).loads[0].status == "skipped"
    assert sorted(lake.read(**through)["id"]) == [1, 2, 3]
    location = service.catalog.load_table("shop.daily").location()
    assert location.startswith(f"{lake.warehouse}/")
    assert lake.bucket.keys(location.removeprefix(f"{lake.bucket.url}/"))


def test_a_commit_whose_answer_a_service_loses_is_looked_up(
    lake: IcebergOnS3, rest: tuple[IcebergRest, dict[str, Any]]
) -> None:
    service, through = rest
    lake.load(numbers(1), mode="append", **through)
    service.lost = 1
    assert lake.load(numbers(2), mode="append", **through).loads[0].status == "committed"
    assert service.commits == 2
    assert sorted(lake.read(**through)["id"]) == [1, 2]


def test_a_catalog_in_postgresql(
    lake: IcebergOnS3, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two credentials: that of the catalog, and that of the bucket."""
    keep(monkeypatch, "catalog", user=database.user, password=database.password)
    uri = f"postgresql://{database.host}:{database.port}/{database.database}"
    there = {"type": "sql", "uri": uri, "warehouse": lake.warehouse}
    lake.load(numbers(1), mode="append", key="a", catalog=there, credential="catalog")
    lake.load(numbers(2), mode="upsert", keys="id", key="b", catalog=there, credential="catalog")
    again = lake.load(numbers(2), mode="append", key="b", catalog=there, credential="catalog")
    assert again.loads[0].status == "skipped"
    assert sorted(lake.read(catalog=there, credential="catalog")["id"]) == [1, 2]


def test_a_table_of_another_program_under_its_name_for_s3(lake: IcebergOnS3) -> None:
    """As Spark writes them with Hadoop's file system; with files that are not below the table."""
    place = f"s3a://{lake.bucket.name}/others/daily"
    table = lake.made(numbers(1), location=place)
    table.append(numbers(1).to_arrow())
    with table.transaction() as change:
        change.set_properties({"write.data.path": f"s3a://{lake.bucket.name}/elsewhere"})
    lake.table().append(numbers(2).to_arrow())
    lake.load(numbers(3), mode="append")
    lake.load(numbers(2, 4), mode="upsert", keys="id")
    assert sorted(lake.read()["id"]) == [1, 2, 3, 4]
    assert sorted(lake.seen()["id"]) == [1, 2, 3, 4]


def test_what_only_the_library_can_read(lake: IcebergOnS3) -> None:
    """Rows that were deleted by position, and a column that was renamed."""
    lake.load(numbers(1, 2, 3), mode="append", key="a")
    delete_rows(lake.table(), {1: [1]})
    with lake.table().update_schema() as change:
        change.rename_column("v", "w")
    assert sorted(lake.read().rows()) == [(1, "v1"), (3, "v3")]
    assert lake.read(snapshot=lake.table().snapshots()[0].snapshot_id)["id"].to_list() == [1, 2, 3]
    lake.load(numbers(3, 4).rename({"v": "w"}), mode="upsert", keys="id")
    assert sorted(lake.seen().rows()) == [(1, "v1"), (3, "v3"), (4, "v4")]


# What fails


def test_what_is_not_there_is_named(lake: IcebergOnS3) -> None:
    with pytest.raises(ConfigError, match=r"there is no Iceberg table shop\.daily"):
        lake.read()
    nowhere = {**lake.settings["catalog"], "warehouse": "s3://nobodys-bucket/lake"}
    with pytest.raises(LoadError, match="NoSuchBucket"):
        lake.load(numbers(1), mode="append", catalog=nowhere)
    lake.load(numbers(1), mode="append")
    for key in lake.bucket.keys("tables/shop/daily/metadata/"):
        lake.bucket.client.delete_object(Bucket=lake.bucket.name, Key=key)
    with pytest.raises((ConfigError, SourceError), match=r"shop\.daily cannot be read: .*no such object"):
        lake.read()


def test_a_service_that_fails_may_be_asked_again_later(lake: IcebergOnS3, s3_server: S3Server) -> None:
    lake.load(numbers(1), mode="append")
    numbers(2).write_parquet("more.parquet")
    config = {
        "name": "p",
        "extract": {"type": "files", "path": "more.parquet"},
        "load": {"id": "lake", **lake.settings, "mode": "append"},
        "resilience": {"retry": {"max_attempts": 1}},
    }
    s3_server.break_down("PUT", "/metadata/", status=503, times=99)
    with pytest.raises(Retryable, match=r"s3 127\.0\.0\.1:\d+ failed .* while writing s3://") as caught:
        Pipeline.from_dict(config).run()
    assert caught.value.endpoint == f"s3 127.0.0.1:{s3_server.port}"
    s3_server.mend()
    assert Pipeline.from_dict(config).run().rows_loaded == 1
    assert sorted(lake.seen()["id"]) == [1, 2]


def test_no_secret_is_in_any_error(lake: IcebergOnS3, s3_account: Account, s3_server: S3Server) -> None:
    lake.load(numbers(1), mode="append")
    secrets = (s3_account.secret_access_key, s3_account.access_key_id)
    denied = {"status": 403, "code": "AccessDenied"}
    faults = [("GET", denied), ("PUT", denied), ("GET", {"status": 0}), ("PUT", {"status": 500})]
    for method, how in faults:
        s3_server.break_down(method, "/metadata/", times=99, **how)
        with pytest.raises(RayetlError) as caught:
            lake.load(numbers(2), mode="append", force=True)
        error: BaseException | None = caught.value
        while error is not None:
            shown = f"{error!r} {error} {getattr(error, 'hint', '')}"
            assert not [secret for secret in secrets if secret in shown]
            error = error.__cause__
        s3_server.mend()
    assert lake.seen().height == 1
