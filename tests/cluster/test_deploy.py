"""The files that start a cluster are what Ray wants them to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
from ray.autoscaler._private.util import prepare_config, validate_config
from ruamel.yaml import YAML

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = sorted(path.name for path in DEPLOY.glob("*.yaml"))


def read(name: str) -> Any:
    return YAML(typ="safe").load((DEPLOY / name).read_text())


@pytest.mark.parametrize("name", FILES)
def test_it_satisfies_rays_own_schema_and_checks(name: str) -> None:
    schema = json.loads(Path(ray.autoscaler.__file__).with_name("ray-schema.json").read_text())
    written = read(name)
    # Only the provider `local` takes the number of its workers at the top, and takes it away itself.
    jsonschema.validate({key: value for key, value in written.items() if key != "min_workers"}, schema)
    validate_config(prepare_config(written))


@pytest.mark.parametrize("name", FILES)
def test_the_token_stays_on_and_the_dashboard_at_home(name: str) -> None:
    config = read(name)
    assert "~/.ray/auth_token" in config["file_mounts"]
    commands = [*config.get("setup_commands", []), *config["head_start_ray_commands"]]
    assert any("RAY_AUTH_MODE=token" in command for command in commands)
    (head,) = [command for command in commands if "ray start --head" in command]
    assert "--dashboard-host=127.0.0.1" in head


def test_workers_that_wait_for_work_are_bounded() -> None:
    config = prepare_config(read("cluster.yaml"))
    assert config["max_workers"] == config["available_node_types"]["worker"]["max_workers"] == 8
    assert config["available_node_types"]["head"]["resources"]["CPU"] == 0
