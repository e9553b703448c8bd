"""Clients that generators make of the schemas publish and read for real, and have good names."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from local_programs import program
from tests.contract.regenerate import FOLDER
from tests.e2e.harness import ID_CARD, Stack, until
from worker.contract.golden import NAMES, example_result

SCHEMAS = {name: FOLDER / f"verification.{name}.v1.schema.json" for name in ("request", "result")}
OF_A_REQUEST = {"RequestV1", "PersonalSpecV1", "PersonalUserV1"}
OF_A_RESULT = {"ResultV1", "AuthInfoV1", "ErrorV1", "FieldProblemV1", "Outcome", "Charged"}


def run(*command: str | Path, **options: Any) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModuleType]:
    """Have datamodel-code-generator make pydantic models, and import them."""
    made = {}
    for name, schema in SCHEMAS.items():
        path = tmp_path_factory.mktemp("models") / f"made_{name}.py"
        kind = ("--input-file-type", "jsonschema")
        output = ("--output-model-type", "pydantic_v2.BaseModel", "--output", path)
        run(Path(sys.executable).with_name("datamodel-codegen"), "--input", schema, *kind, *output)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[path.stem] = made[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made[name])
    return made


def test_generated_models_publish_a_request_and_read_its_result(
    working: Stack, models: dict[str, ModuleType]
) -> None:
    asking, reading = models["request"], models["result"]
    user = asking.PersonalUserV1(name="张三", idCard=ID_CARD)
    spec = asking.PersonalSpecV1(checkType=2, personalUser=user)
    asked = asking.RequestV1(requestId="typed-py", personalSpec=spec)
    # With a null for each field that is not set, as such clients send it.
    body = asked.model_dump_json()
    assert json.loads(body)["personalSpec"]["personalUser"]["mobile"] is None
    working.publish(body.encode())
    until(lambda: working.depth("collector"))
    ((method, _, event),) = working.take()
    result = reading.ResultV1.model_validate_json(event)
    assert (result.requestId, result.outcome.value, result.error) == ("typed-py", "match", None)
    assert method.routing_key == "default.match"


def test_generated_models_read_what_a_later_version_adds(models: dict[str, ModuleType]) -> None:
    reading = models["result"].ResultV1
    for name in NAMES:
        reading.model_validate(example_result(name))
    later = {**example_result("rejected"), "added": {"later": True}}
    later["error"] = {**later["error"], "kind": "a_new_kind", "hint": "…"}
    assert reading.model_validate(later).error.kind == "a_new_kind"


def test_generated_names_are_those_of_the_contract(models: dict[str, ModuleType]) -> None:
    found = {
        name: set(re.findall(r"^class (\w+)", source(made), re.M)) for name, made in models.items()
    }
    assert found == {"request": OF_A_REQUEST, "result": OF_A_RESULT | {"Mode"}}
    # What a client does not set it does not send.
    assert "default" not in SCHEMAS["request"].read_text().replace("`default`", "")


def source(made: ModuleType) -> str:
    assert made.__file__ is not None
    return Path(made.__file__).read_text()


def test_a_generated_typescript_client_publishes_and_reads(
    working: Stack, node_environment: dict[str, str], tmp_path: Path
) -> None:
    tools = Path(node_environment["NODE_PATH"]) / ".bin"
    environment = {**os.environ, **node_environment, "AMQP_URL": working.amqp_url}
    path = {**environment, "PATH": f"{Path(program('node')).parent}:{os.environ['PATH']}"}
    names = {}
    for name, schema in SCHEMAS.items():
        types = run(tools / "json2ts", schema, env=path)
        (tmp_path / f"{name}.ts").write_text(types)
        names[name] = set(re.findall(r"^export (?:interface|type) (\w+)", types, re.M))
    assert names == {"request": OF_A_REQUEST, "result": OF_A_RESULT}
    client = shutil.copy(Path(__file__).with_name("generated_client.ts"), tmp_path / "client.ts")
    options = ("--strict", "--target", "es2022", "--module", "commonjs")
    run(tools / "tsc", *options, "--outDir", tmp_path / "out", client, env=path)
    said = run(program("node"), tmp_path / "out" / "client.js", env=environment)
    assert said == 'typed-ts match yes ok {"from":"typescript"}\n'
