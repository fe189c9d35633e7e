"""`${NAME}`: order of look-up, defaults, escapes, numbers, secrets."""

from __future__ import annotations

import pytest
from pydantic import Field

from rayetl.config.checked import Loaded, check_document
from rayetl.errors import ConfigError
from rayetl.model import Model

from .documents import document


class Config(Model):
    vars: dict[str, str | int | float | bool] = Field(default={})
    text: str = ""
    number: int = 0
    share: float = 0.0
    flag: bool = False
    any: str | int | None = None
    many: list[str] = Field(default=[])


def load(text: str, **variables: str) -> Config:
    loaded: Loaded[Config] = check_document(document(text), Config, [], variables)
    return loaded.config


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYETL_TEST_HOME", "/data")
    monkeypatch.setenv("RAYETL_TEST_EMPTY", "")
    monkeypatch.setenv("x", "from the environment")
    monkeypatch.delenv("RAYETL_TEST_NONE", raising=False)


def test_set_comes_before_vars_and_vars_before_the_environment() -> None:
    text = "vars: {x: from vars}\ntext: ${x}\n"
    assert load(text, x="set").text == "set"
    assert load(text).text == "from vars"
    assert load("text: ${x}\n").text == "from the environment"


def test_variables_may_use_those_before_them() -> None:
    text = "vars: {root: '${RAYETL_TEST_HOME}', out: '${root}/out'}\ntext: ${out}\n"
    assert load(text).text == "/data/out"
    assert load(text, root="/tmp").text == "/tmp/out"
    with pytest.raises(ConfigError, match="neither set"):
        load("vars: {a: '${b}', b: c}\ntext: x\n")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("a${RAYETL_TEST_HOME}b", "a/datab"),
        ("${RAYETL_TEST_NONE:-none}", "none"),
        ("${RAYETL_TEST_NONE:-}", ""),
        ("${RAYETL_TEST_EMPTY}", ""),
        ("${RAYETL_TEST_EMPTY:-default}", "default"),
        ("$${x}", "${x}"),
        ("$$", "$"),
        ("price$", "price$"),
        ("^\\d+$ $.path $1", "^\\d+$ $.path $1"),
        ("${ RAYETL_TEST_HOME }", "/data"),
        ("${RAYETL_TEST_NONE:-a b:-c}", "a b:-c"),
    ],
)
def test_texts(written: str, value: str) -> None:
    assert load(f"text: '{written}'\n").text == value


def test_a_value_that_was_put_in_is_not_looked_at_again() -> None:
    assert load("text: ${a}\n", a="${b} $$").text == "${b} $$"


def test_fields_get_the_kind_they_want() -> None:
    made = load(
        "number: ${n}\nshare: ${s}\nflag: ${f}\ntext: ${n}\nmany: ['${n}', \"a\"]\nany: ${n}\n",
        n="2013",
        s="0.5",
        f="true",
    )
    assert (made.number, made.share, made.flag, made.text) == (2013, 0.5, True, "2013")
    assert made.many == ["2013", "a"]
    assert made.any == 2013
    assert load("any: '${n}'\n", n="2013").any == "2013", "quotes make a text"
    assert load("many:\n - ${n}\n - b\n", n="007").many == ["007", "b"]
    assert load("text: ${n}\n", n="null").text == "null"
    assert load("text: ${n}\n", n="1e3").text == "1e3"


@pytest.mark.parametrize(
    "name",
    [
        "DB_PASSWORD",
        "apiToken",
        "CLIENT_SECRET",
        "AWS_ACCESS_KEY_ID",
        "API_KEY",
        "passphrase",
        "PGPASSWORD",
        "MYSQL_PWD",
    ],
)
def test_secrets_are_refused_and_never_shown(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "hunter2")
    with pytest.raises(ConfigError) as caught:
        load(f"text: ${{{name}}}\n")
    assert "credential:" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_value_that_is_not_filled_in_is_one_fault() -> None:
    with pytest.raises(ConfigError) as caught:
        load("number: ${RAYETL_TEST_NONE}\nflag: ${PGPASSWORD}\nshare: x\n")
    assert [problem.code for problem in caught.value.problems] == [
        "config.undefined_variable",
        "config.secret",
        "config.wrong_kind",
    ]


@pytest.mark.parametrize("name", ["monkey", "KEYSPACE", "tokenizer", "secretary", "PWD", "OLDPWD"])
def test_names_that_only_hold_such_letters_are_fine(name: str) -> None:
    assert load(f"text: ${{{name}}}\n", **{name: "x"}).text == "x"


def test_a_declared_key_is_a_column_and_no_secret() -> None:
    assert load("vars: {merge_key: id}\ntext: ${merge_key}\n").text == "id"


def test_one_alias_one_interpolation() -> None:
    made = load("vars: {v: &v '${RAYETL_TEST_HOME}'}\ntext: *v\nmany: [*v, *v]\n")
    assert made.many == ["/data", "/data"]


def test_unused_variables_are_named() -> None:
    with pytest.raises(ConfigError, match="did you mean `year`"):
        load("vars: {year: 2013}\ntext: x\n", yaer="2014")
    assert load("vars: {year: 2013}\ntext: x\n", year="2014").text == "x"
