"""Keys that a catalog service hands out with a table: the login of the config opens the catalog and no bucket."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from iceberg_deletes import delete_rows
from lakes import IcebergOnS3, numbers
from services.iceberg_rest import IcebergRest
from services.s3 import Account, Bucket, S3Server, keep, login_again

from rayetl import Pipeline
from rayetl.cli import main
from rayetl.errors import ConfigError, CredentialError, LoadError, RayetlError

TOKEN = "canary-7f3a"
_KEYS = ("access-key-id", "secret-access-key")


class Lent(IcebergOnS3):
    """A table of a catalog service whose bucket opens to the keys that the service hands out, and to no others
    that the config knows: `other` is of another account."""

    def __init__(self, bucket: Bucket, server: S3Server, account: Account, directory: Path) -> None:
        super().__init__(bucket, server)
        self.account = account
        self.service = IcebergRest(directory, token=TOKEN, tables=self.catalog().properties)
        self.service.config = self.keys()
        own = {"catalog": {"type": "rest", "uri": self.service.uri}, "credential": "service"}
        self.settings |= {**own, "s3": {"credential": "other"}}
        self.lent: list[str] = []

    def keys(self, seconds: float = 3600) -> dict[str, str]:
        """New keys of the bucket, and where it is, as a service says both."""
        role = f"arn:aws:iam::{self.account.number}:role/{dt.datetime.now().timestamp()}"
        found = self.account.client("sts").assume_role(RoleArn=role, RoleSessionName="lent")["Credentials"]
        ends = dt.datetime.now().timestamp() + seconds
        return {
            "s3.access-key-id": found["AccessKeyId"],
            "s3.secret-access-key": found["SecretAccessKey"],
            "s3.session-token": found["SessionToken"],
            "s3.session-token-expires-at-ms": str(int(ends * 1000)),
            "s3.endpoint": self.account.server.endpoint,
            "client.region": "us-east-1",
        }

    def table(self) -> Any:
        return self.service.catalog.load_table("shop.daily")


@pytest.fixture
def lent(
    bucket: Bucket,
    s3_server: S3Server,
    s3_account: Account,
    other: Account,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Lent]:
    monkeypatch.chdir(tmp_path)
    keep(monkeypatch, "service", token=TOKEN)
    made = Lent(bucket, s3_server, s3_account, tmp_path / "service")
    yield made
    made.service.stop()
    login_again()


def test_a_table_is_made_changed_and_read_with_keys_of_the_catalog(lent: Lent) -> None:
    lent.load(numbers(1, 2), mode="append", key="a")
    lent.load(numbers(2, 3), mode="upsert", keys="id")
    assert lent.load(numbers(1, 2), mode="append", key="a").loads[0].status == "skipped"
    assert sorted(lent.read()["id"]) == [1, 2, 3]
    delete_rows(lent.table(), {1: [1]})
    assert lent.read().height == 2, "the library opens files with them too"
    lent.load(numbers(4), mode="overwrite", s3=None)
    assert lent.read(s3=None)["id"].to_list() == [4]


def test_without_them_the_credential_of_the_config_opens_the_bucket(lent: Lent, s3_server: S3Server) -> None:
    lent.service.config = {"s3.access-key-id": "alone"}
    own = {"credential": "lake", "endpoint": s3_server.endpoint}
    lent.load(numbers(1), mode="append", s3=own)
    assert lent.read(s3=own)["id"].to_list() == [1]
    with pytest.raises(ConfigError, match="AccessDenied"):
        lent.read(s3={**own, "credential": "other"})


def test_keys_for_a_prefix_come_first(lent: Lent, other: Account) -> None:
    wrong = {
        "s3.endpoint": lent.account.server.endpoint,
        **{f"s3.{name}": value for name, value in zip(_KEYS, other.fields.values(), strict=True)},
    }
    lent.service.storage = [
        {"prefix": "s3", "config": wrong},
        {"prefix": f"s3a://{lent.bucket.name}/tables/shop/", "config": lent.keys()},
        {"prefix": f"{lent.bucket.url}/elsewhere", "config": wrong},
    ]
    lent.service.config = {}
    lent.load(numbers(1), mode="append")
    assert lent.read()["id"].to_list() == [1]
    lent.service.storage = lent.service.storage[:1]
    with pytest.raises(ConfigError, match=r"AccessDenied|refuses"):
        lent.read()


def test_keys_are_asked_for_again_before_they_end(lent: Lent, s3_server: S3Server) -> None:
    """Each time other ones; those before are refused."""
    handed: list[str] = []
    answer = lent.service.answer

    def fresh(method: str, parts: list[str], body: dict[str, Any]) -> dict[str, Any] | None:
        s3_server.revoked |= set(handed[:-1])
        lent.service.config = lent.keys(seconds=20)
        handed.append(lent.service.config["s3.access-key-id"])
        return answer(method, parts, body)

    lent.service.answer = fresh  # type: ignore[method-assign]
    lent.load(numbers(1, 2), mode="append")
    lent.load(numbers(2, 3), mode="upsert", keys="id")
    assert sorted(lent.read()["id"]) == [1, 2, 3]
    assert len(handed) > 6


def test_keys_that_are_refused_are_asked_for_once_more(lent: Lent, s3_server: S3Server) -> None:
    lent.load(numbers(1), mode="append")
    s3_server.revoked.add(lent.service.config["s3.access-key-id"])
    with pytest.raises(CredentialError, match="refuses the keys of the catalog http") as caught:
        lent.load(numbers(2), mode="append")
    assert "endpoint" in str(caught.value.hint)
    lent.service.config = lent.keys()
    assert lent.load(numbers(2), mode="append").rows_loaded == 1


def test_keys_that_are_over_are_told(lent: Lent) -> None:
    lent.service.config = lent.keys(seconds=-60)
    with pytest.raises(CredentialError, match=r"keys that the catalog http\S+ hands out are over") as caught:
        lent.load(numbers(1), mode="append")
    assert "clock" in str(caught.value.hint)


def test_keys_may_end_later_than_any_date(lent: Lent) -> None:
    """The largest number that Java has, for keys that do not end."""
    lent.service.config["s3.session-token-expires-at-ms"] = str(2**63 - 1)
    lent.load(numbers(1), mode="append")
    assert lent.read()["id"].to_list() == [1]


def test_an_end_that_is_no_time_is_told(lent: Lent) -> None:
    lent.service.config["s3.session-token-expires-at-ms"] = "tomorrow"
    with pytest.raises(CredentialError, match="keys that end at 'tomorrow', which is no time"):
        lent.load(numbers(1), mode="append")


def test_the_config_says_which_service_it_is(lent: Lent, s3_server: S3Server) -> None:
    """Services in containers know themselves by other names than their clients do."""
    lent.service.config["s3.endpoint"] = "http://minio:9000"
    with pytest.raises(LoadError, match="http://minio:9000, which is reached without encryption"):
        lent.load(numbers(1), mode="append")
    lent.load(numbers(1), mode="append", s3={"endpoint": s3_server.endpoint})


def test_what_a_table_says_of_keys_is_not_believed(lent: Lent, other: Account, s3_server: S3Server) -> None:
    """Its properties are by whoever may write it."""
    lent.load(numbers(1), mode="append")
    shown = lent.service._shown

    def forged(*given: Any) -> dict[str, Any]:
        answer = shown(*given)
        keys = {f"s3.{name}": value for name, value in zip(_KEYS, other.fields.values(), strict=True)}
        answer["metadata"]["properties"] |= {**keys, "s3.endpoint": "http://127.0.0.1:1"}
        return answer

    lent.service._shown = forged  # type: ignore[method-assign]
    assert lent.read()["id"].to_list() == [1]
    lent.service.config = {}
    own = {"credential": "lake", "endpoint": s3_server.endpoint}
    assert lent.read(s3=own)["id"].to_list() == [1]


def test_no_key_is_in_any_output(
    lent: Lent, s3_server: S3Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    numbers(1, 2).write_parquet("in.parquet")
    config = {
        "name": "p",
        "extract": {"type": "files", "path": "in.parquet"},
        "load": {"id": "lake", **lent.settings, "mode": "append"},
        "resilience": {"retry": {"max_attempts": 1}},
    }
    Path("load.json").write_text(str(config).replace("'", '"'))
    source = {**lent.source(), "name": "r"}
    Path("read.json").write_text(str(source).replace("'", '"'))

    def run(*words: str) -> int:
        return main([*words])

    assert run("--debug", "run", "load.json") == 0
    assert run("explain", "read.json") == run("run", "read.json", "--debug") == 0
    secrets = {lent.service.config[f"s3.{name}"] for name in ("secret-access-key", "session-token")}
    for method, how in (("GET", {"status": 403, "code": "AccessDenied"}), ("GET", {"status": 0})):
        s3_server.break_down(method, "/tables/", times=99, **how)
        assert run("run", "read.json", "--force", "--debug") == 1
        s3_server.mend()
    shows = lent.service._shown
    lent.service._shown = lambda *given: {**shows(*given), "metadata": {}}  # type: ignore[method-assign]
    assert run("run", "read.json", "--force", "--debug") != 0
    with pytest.raises(RayetlError) as caught:
        Pipeline.from_dict(source).run(force=True)
    shown = f"{capfd.readouterr()} {caught.value!r} {caught.value.hint} {caught.value.__cause__!r}"
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert len(shown) > 1000
    assert not [secret for secret in secrets if secret in shown or secret.encode() in kept]
    assert pl.read_parquet("read/*.parquet").height == 2
