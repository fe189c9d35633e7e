"""Secrets of every place and every store, searched after good and bad runs in all that a run leaves behind."""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from canaries import Canary, Watch, bare_environment, rayetl
from moto.server import ThreadedMotoServer
from services.hashicorp import ROLE, HashicorpVault
from services.kafka import USER, Kafka
from services.mariadb import Mariadb
from services.postgres import Database, Postgres
from services.s3 import Account, Bucket

from rayetl.secrets import Secret
from rayetl.secrets.vault import Opener, Vault, make_key_file

PLACES = ("file", "environment", "token", "role", "aws", "inline")
"""Where the password of a connection is kept; each has a user and a schema of its own in the database."""


@dataclass
class World:
    """A machine with credentials everywhere: its canaries, and the environment that leads to them."""

    canaries: dict[str, Canary]
    environment: dict[str, str]
    home: Path
    database: Database
    hashicorp: HashicorpVault
    manager: Any

    @property
    def work(self) -> Path:
        return self.home / "work"

    def put(self, place: str, password: str) -> dict[str, str]:
        """Keep a password in a place; gives the fields by which a config finds it."""
        fields = {"user": f"canary_{place}", "password": password}
        if place == "file":
            key = Path(self.environment["RAYETL_VAULT_KEY_FILE"])
            vault = Vault(Path(self.environment["RAYETL_VAULT_FILE"]), Opener("", key_file=key))
            vault.put({"in_file": fields}, replacing=True)
        elif place == "environment":
            self.environment |= {
                f"RAYETL_CREDENTIAL_IN_ENVIRONMENT__{name.upper()}": each for name, each in fields.items()
            }
        elif place in ("token", "role"):
            self.hashicorp.secrets[f"rayetl/in_{place}"] = fields
        elif place == "aws":
            self.manager.delete_secret(SecretId="rayetl/in_aws", ForceDeleteWithoutRecovery=True)
            self.manager.create_secret(Name="rayetl/in_aws", SecretString=json.dumps(fields))
        return fields if place == "inline" else {"credential": f"in_{place}"}

    def run(self, watch: Watch, *words: str, **changes: str) -> tuple[int, str]:
        """Call rayetl as a person would; its code and what it printed."""
        done = watch.run(rayetl(*words), self.work, {**self.environment, **changes})
        return done.returncode, (done.stdout + done.stderr).decode()

    def assert_silent(self, watch: Watch) -> None:
        """Nothing of any canary, in any form, anywhere."""
        watch.files(self.home, but=self.own_files)
        assert watch.hits(list(self.canaries.values())) == []
        assert any(place.startswith("cmdline") for place in watch.seen)

    @property
    def own_files(self) -> list[Path]:
        """Where the canaries were put on purpose."""
        return [self.home / "vault.key", self.home / "aws" / "credentials", self.home / "config.yaml"]


@pytest.fixture(scope="module")
def world(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("canaries")
    (home / "work").mkdir()
    plain = ("hashicorp token", "secret id", "aws key")
    names = (
        *(f"password of {place}" for place in PLACES),
        *(f"wrong of {place}" for place in PLACES),
        "passphrase",
    )
    canaries = {name: Canary.fresh(name.replace(" ", "_")) for name in names}
    canaries |= {name: Canary.fresh(name.replace(" ", "_"), "") for name in plain}
    database = postgres_server.create()
    for place in PLACES:
        password = canaries[f"password of {place}"].text.replace("'", "''")
        postgres_server.superuser.execute(f"CREATE ROLE canary_{place} LOGIN PASSWORD '{password}'")
        postgres_server.superuser.execute(f"GRANT canary_{place} TO {database.user}")
        database.execute(f"CREATE SCHEMA canary_{place} AUTHORIZATION canary_{place}")
    database.execute(
        "CREATE TABLE t AS SELECT i AS id, 'v' || i AS v FROM generate_series(1, 20) i",
        "GRANT SELECT ON t TO PUBLIC",
        "CREATE TABLE canary_file.strict (id int CHECK (id <> 7), v text)",
        "ALTER TABLE canary_file.strict OWNER TO canary_file",
    )
    make_key_file(home / "vault.key")
    key = (home / "vault.key").read_text().strip()
    canaries["vault key"] = Canary("vault_key", base64.b64decode(key).hex())
    canaries["vault key in base64"] = Canary("vault_key_in_base64", key)
    vault_file = home / "vault.json"
    Vault.create(vault_file, Opener("", key_file=home / "vault.key")).rotate(
        (Opener("", key_file=home / "vault.key"), Opener("", passphrase=Secret(canaries["passphrase"].text)))
    )
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    (home / "aws").mkdir()
    (home / "aws" / "credentials").write_text(
        f"[default]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = {canaries['aws key'].text}\n"
    )
    endpoint = f"http://{host}:{port}"
    manager = boto3.client(
        "secretsmanager",
        "eu-central-1",
        endpoint_url=endpoint,
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )
    with HashicorpVault(
        tokens={canaries["hashicorp token"].text}, secret_ids={canaries["secret id"].text}
    ) as hashicorp:
        environment = bare_environment(
            home,
            RAYETL_VAULT_FILE=str(vault_file),
            RAYETL_VAULT_KEY_FILE=str(home / "vault.key"),
            RAYETL_VAULT_PASSPHRASE=canaries["passphrase"].text,
            VAULT_ADDR=hashicorp.address,
            VAULT_TOKEN=canaries["hashicorp token"].text,
            VAULT_ROLE_ID=ROLE,
            VAULT_SECRET_ID=canaries["secret id"].text,
            RAYETL_AWS_SECRETS="rayetl/",
            AWS_ENDPOINT_URL_SECRETS_MANAGER=endpoint,
            AWS_REGION="eu-central-1",
            AWS_SHARED_CREDENTIALS_FILE=str(home / "aws" / "credentials"),
            AWS_EC2_METADATA_DISABLED="true",
        )
        yield World(canaries, environment, home, database, hashicorp, manager)
    moto.stop()
    for place in PLACES:
        database.execute(f"DROP SCHEMA canary_{place} CASCADE")
        postgres_server.superuser.execute(f"DROP ROLE canary_{place}")
    postgres_server.drop(database)


def config(world: World, passwords: str, *places: str, **changes: Any) -> Path:
    """A pipeline from the database into it, with a load for each place, which has its password there."""
    database = world.database
    server = {"type": "postgres", "host": database.host, "port": database.port, "database": database.database}
    good = world.put("file", world.canaries["password of file"].text)
    loads = []
    for place in places:
        found = world.put(place, world.canaries[f"{passwords} of {place}"].text)
        loads.append({**server, **found, "table": f"canary_{place}.r", "mode": "append", **changes})
    rule = {"name": "small", "check": "id < 19", "on_failure": "quarantine"}
    document = {
        "name": f"canary_{'_'.join(places)}",
        "extract": {"s": {**server, **good, "table": "public.t"}},
        "transform": [{"type": "validate", "rules": [rule]}],
        "load": loads,
        "resilience": {"retry": {"max_attempts": 1}, "dead_letter": {"type": "files", "path": "rejects"}},
    }
    path = world.home / "config.yaml"
    path.write_text(json.dumps(document))
    return path


def login(*places: str) -> dict[str, str]:
    """Changes of the environment that make HashiCorp Vault be opened by token or by role."""
    return {"VAULT_TOKEN": ""} if "role" in places else {}


def test_good_runs_show_no_secret(world: World) -> None:
    watch = Watch()
    for places in (("file", "environment", "token", "aws", "inline"), ("role",)):
        path, env = str(config(world, "password", *places)), login(*places)
        code, said = world.run(watch, "run", path, "--log-level", "debug", "--report", "report.html", **env)
        assert (code, f"{18 * len(places)} loaded · 2 rejected" in said) == (0, True), said
    for words in (("report", "last", "--json"), ("dlq", "show", path), ("explain", path)):
        assert world.run(watch, *words, **env)[0] == 0
    world.assert_silent(watch)


@pytest.mark.parametrize("place", PLACES)
def test_a_refused_password_is_not_repeated(world: World, place: str) -> None:
    watch, path = Watch(), str(config(world, "wrong", place))
    # In the file it is the password of the source too, which the check before the run meets.
    code, said = world.run(watch, "run", path, "--debug", **login(place))
    assert (code, "refuses the user" in said, "Traceback" in said) == (1, True, True), said
    world.assert_silent(watch)


def test_a_row_that_the_store_refuses_is_kept_without_the_secret(world: World) -> None:
    watch, path = Watch(), str(config(world, "password", "file", table="canary_file.strict"))
    code, said = world.run(watch, "run", path)
    assert (code, "3 rejected" in said) == (0, True), said
    world.assert_silent(watch)


def test_a_dead_letter_store_in_a_database_shows_no_secret(world: World) -> None:
    watch, path = Watch(), config(world, "password", "token")
    document = json.loads(path.read_text())
    server = {name: document["extract"]["s"][name] for name in ("type", "host", "port", "database")}
    for place in ("environment", "aws", "inline"):
        table = f"canary_{place}.rejects"
        for passwords, code, told in (("password", 0, "2 rejected"), ("wrong", 1, "refuses the user")):
            found = world.put(place, world.canaries[f"{passwords} of {place}"].text)
            document["name"] = f"letters_{place}_{passwords}"
            document["load"] = {"type": "files", "path": f"out_{place}", "mode": "append"}
            document["resilience"]["dead_letter"] = {**server, **found, "table": table}
            path.write_text(json.dumps(document))
            ended, said = world.run(watch, "run", str(path), "--debug", "--log-level", "debug")
            assert (ended, told in said) == (code, True), said
            shown = world.run(watch, "dlq", "show", str(path), "--debug")
            assert (shown[0], told in shown[1]) == (code, passwords == "wrong"), shown[1]
    world.assert_silent(watch)


def test_dead_letters_in_kafka_show_no_secret(world: World, kafka: Kafka) -> None:
    world.canaries["kafka"] = Canary("kafka", kafka.password)
    document = json.loads(config(world, "password", "token").read_text())
    watch, path = Watch(), world.home / "config.yaml"
    there = {"brokers": f"127.0.0.1:{kafka.closed}", "sasl_mechanism": "PLAIN", "topic": kafka.topic()}
    wrong = world.canaries["wrong of aws"].text
    for passwords, code, told in ((kafka.password, 0, "2 rejected"), (wrong, 1, "refuses the credential")):
        keys = {"RAYETL_CREDENTIAL_BUS__USER": USER, "RAYETL_CREDENTIAL_BUS__PASSWORD": passwords}
        document["name"] = f"letters_kafka_{code}"
        document["load"] = {"type": "files", "path": f"out_kafka_{code}", "mode": "append"}
        document["resilience"]["dead_letter"] = {"type": "kafka", "credential": "bus", **there}
        path.write_text(json.dumps(document))
        ended, said = world.run(watch, "run", str(path), "--debug", "--log-level", "debug", **keys)
        assert (ended, told in said) == (code, True), said
        shown = world.run(watch, "dlq", "show", str(path), "--debug", **keys)
        assert shown[0] == code, shown[1]
    watch.seen |= {f"message {key!r}": value for key, value in kafka.messages(there["topic"])}
    world.assert_silent(watch)


def test_runs_on_mariadb_show_no_secret(world: World, mariadb_server: Mariadb) -> None:
    good = world.canaries["password of file"].text.replace("\\", "\\\\").replace("'", "''")
    mariadb_server.superuser.execute(
        "CREATE DATABASE canary",
        f"CREATE USER canary_file@127.0.0.1 IDENTIFIED BY '{good}'",
        "GRANT ALL ON canary.* TO canary_file@127.0.0.1",
        "CREATE TABLE canary.t AS SELECT CAST(seq AS SIGNED) AS id, concat('v', seq) AS v FROM seq_1_to_20",
        "CREATE TABLE canary.strict (id bigint CHECK (id <> 7), v text)",
    )
    server = {"type": "mysql", "host": "127.0.0.1", "port": mariadb_server.port, "database": "canary"}
    document = json.loads(config(world, "password", "file").read_text())
    document["extract"]["s"] = {**server, "credential": "in_file", "table": "t"}
    watch, path = Watch(), world.home / "config.yaml"
    for passwords, table, code, said in (
        ("password", "r", 0, "18 loaded · 2 rejected"),
        ("password", "strict", 0, "17 loaded · 3 rejected"),
        ("wrong", "r", 1, "refuses the user"),
    ):
        found = world.put("file", world.canaries[f"{passwords} of file"].text)
        document["name"] = f"canary_mariadb_{passwords}_{table}"
        document["load"] = {**server, **found, "table": table, "mode": "append"}
        path.write_text(json.dumps(document))
        told = world.run(watch, "run", str(path), "--debug", "--log-level", "debug")
        assert (told[0], said in told[1]) == (code, True), told[1]
    world.assert_silent(watch)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"RAYETL_VAULT_KEY_FILE": "", "RAYETL_VAULT_PASSPHRASE": "wrong of file"},
            "does not open the vault",
        ),
        ({"RAYETL_VAULT_KEY_FILE": ""}, "t"),
        ({"RAYETL_VAULT_FILE": "/nowhere", "VAULT_TOKEN": "wrong of token"}, "which is not there"),
    ],
)
def test_a_place_that_fails_says_nothing_of_what_opens_it(
    world: World, changes: dict[str, str], said: str
) -> None:
    given = {
        name: world.canaries[value].text if value in world.canaries else value
        for name, value in changes.items()
    }
    watch, path = Watch(), str(config(world, "password", "file"))
    code, told = world.run(watch, "check", path, "--debug", **given)
    assert said in told, told
    assert code == (0 if said == "t" else 1)
    world.assert_silent(watch)


def test_hashicorp_refusing_and_being_away_says_nothing(world: World) -> None:
    path = str(config(world, "password", "token"))
    watch = Watch()
    wrong = world.canaries["wrong of role"].text.encode("ascii", "ignore").decode()
    for changes, said in (
        ({"VAULT_TOKEN": "wrong"}, "does not let this token"),
        ({"VAULT_TOKEN": "", "VAULT_SECRET_ID": wrong}, "refuses the role"),
        ({"VAULT_ADDR": "http://127.0.0.1:9"}, "cannot be reached"),
    ):
        code, told = world.run(watch, "run", path, "--debug", **changes)
        assert (code, said in told) == (1, True), told
    world.assert_silent(watch)


def test_a_run_on_ray_shows_no_secret(world: World) -> None:
    watch, path = Watch(), str(config(world, "password", "file", "environment", "token"))
    # Short, because the names of Ray's sockets are long already.
    with tempfile.TemporaryDirectory(prefix="canary-") as sessions:
        code, said = world.run(watch, "run", path, "--force", "--runtime", "ray", RAY_TMPDIR=sessions)
        watch.files(Path(sessions))
    assert (code, "20 read · 54 loaded · 2 rejected" in said) == (0, True), said
    shown = b"\n".join(data for place, data in watch.seen.items() if place.startswith("cmdline"))
    assert b"raylet" in shown
    assert b"ray::" in shown
    assert any("/session_" in place for place in watch.seen)
    world.assert_silent(watch)


def test_runs_on_s3_show_no_secret(world: World, s3_account: Account, bucket: Bucket) -> None:
    world.canaries |= {"s3 key": Canary.fresh("s3_key"), "s3 token": Canary.fresh("s3_token", "")}
    fields = {
        "access_key_id": s3_account.access_key_id,
        "secret_access_key": world.canaries["s3 key"].text,
        "session_token": world.canaries["s3 token"].text,
    }
    keys = {f"RAYETL_CREDENTIAL_LAKE__{name.upper()}": value for name, value in fields.items()}
    there = {"type": "files", "credential": "lake", "s3": {"endpoint": s3_account.server.endpoint}}
    bucket.put("in/a.csv", "1\n2\nx\n")
    document = {
        "name": "canary_s3",
        "extract": {**there, "path": f"{bucket.url}/in/*.csv", "schema": "k INT"},
        "load": {**there, "path": f"{bucket.url}/out", "mode": "append"},
        "resilience": {
            "retry": {"max_attempts": 1},
            "dead_letter": {**there, "path": f"{bucket.url}/letters"},
        },
    }
    (world.home / "config.yaml").write_text(json.dumps(document))
    watch, path = Watch(), str(world.home / "config.yaml")
    code, said = world.run(watch, "run", path, "--log-level", "debug", "--report", "report.html", **keys)
    assert (code, "2 loaded · 1 rejected" in said) == (0, True), said
    assert world.run(watch, "dlq", "show", path, "--debug", **keys)[0] == 0
    s3_account.server.break_down("PUT", "out/", status=403, code="AccessDenied", times=100)
    code, said = world.run(watch, "run", path, "--force", "--debug", **keys)
    assert (code, "AccessDenied" in said, "Traceback" in said) == (1, True, True), said
    s3_account.server.revoked.add(s3_account.access_key_id)
    code, said = world.run(watch, "run", path, "--debug", **keys)
    assert (code, "refuses the keys of the credential 'lake'" in said) == (1, True), said
    s3_account.server.mend()
    for key in bucket.keys(hidden=True):
        watch.seen[key] = bucket.get(key)
    world.assert_silent(watch)


# Positive controls: what is planted is found.

LEAKS = {
    "stdout": "print(secret)",
    "stderr": "print(repr(secret), file=sys.stderr)",
    "url in a log": "open('run.log', 'w').write('GET /?p=' + quote(secret, safe=''))",
    "json in a report": "json.dump({'a': [secret]}, open('report.json', 'w'))",
    "base64 in a header": "open('h.txt', 'w').write(base64.b64encode(b'user:' + secret.encode()).decode())",
    "sql": "open('q.sql', 'w').write(secret.replace(\"'\", \"''\"))",
    "json of json in a log": "print(json.dumps(json.dumps({'dsn': 'password=' + repr(secret)})))",
    "hex": "open('dump', 'w').write(secret.encode().hex())",
    "a parquet file": "pl.DataFrame({'record': [b'{' + secret.encode() + b'}'] * 1000}).write_parquet('d.parquet')",
    "a file's name": "open(secret.replace('/', '') if '/' not in secret else quote(secret, safe=''), 'w')",
    "argv of a child": "subprocess.run(['sleep', '0.3', '--', secret], stderr=subprocess.DEVNULL); subprocess.run(['sh', '-c', 'sleep 0.3; true', secret])",
    "environment of a child": "subprocess.run(['sh', '-c', 'sleep 0.3; true'], env={'P': secret, 'PATH': os.environ['PATH']})",
    "environment of a grandchild": "subprocess.run(['sh', '-c', 'env P=\"$0\" sleep 0.3; true', 'x'], env={'P': secret, 'PATH': os.environ['PATH']})",
    "a traceback": "raise ValueError(secret)",
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_planted_leak_is_found(tmp_path: Path, leak: str) -> None:
    canary = Canary.fresh("planted")
    script = tmp_path / "leak.py"
    script.write_text(
        "import base64, json, os, subprocess, sys\nfrom urllib.parse import quote\nimport polars as pl\n"
        f"secret = sys.stdin.read()\n{LEAKS[leak]}\n"
    )
    work = tmp_path / "work"
    work.mkdir()
    watch = Watch()
    watch.run([sys.executable, str(script)], work, bare_environment(tmp_path / "home"), canary.text)
    watch.files(work)
    assert watch.hits([canary]), leak
    assert not Watch().hits([canary])


def test_there_are_enough_canaries(world: World) -> None:
    assert len(world.canaries) >= 12
    assert all(len(canary.forms()) >= 12 for canary in world.canaries.values())
