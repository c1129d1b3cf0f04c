"""Work pools of other types: each takes what the deployments say, and starts the image as it should."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prefect.utilities.schema_tools import validate
from prefect.utilities.templating import apply_values, find_placeholders
from prefect.workers.process import ProcessJobConfiguration

from infra.pool_template import TYPES, main, pool_template, read_outputs
from infra.work_pool import fill_template
from tests.infra.deployments import document
from tests.infra.stack_outputs import OUTPUTS, SECRETS

JOB_VARIABLES = [one["work_pool"]["job_variables"] for one in document()["deployments"]]
OF_A_RUN = {"command": "prefect flow-run execute", "env": {"PREFECT_API_URL": "http://127.0.0.1/api"}}
each_type = pytest.mark.parametrize("pool_type", TYPES)


def rendered(pool_type: str, variables: dict[str, Any]) -> dict[str, Any]:
    """The job's configuration, as a worker makes it of the template, its defaults, and a deployment's variables."""
    template = pool_template(pool_type, OUTPUTS, SECRETS)
    properties = template["variables"]["properties"]
    defaults = {name: one["default"] for name, one in properties.items() if one.get("default") is not None}
    found: dict[str, Any] = apply_values(template["job_configuration"], defaults | OF_A_RUN | variables)
    return found


@each_type
def test_a_pool_takes_the_variables_of_every_deployment(pool_type: str) -> None:
    template = pool_template(pool_type, OUTPUTS, SECRETS)
    for variables in JOB_VARIABLES:
        assert variables.keys() <= template["variables"]["properties"].keys()
        assert not validate(variables, template["variables"], raise_on_error=False)


@each_type
def test_a_template_asks_for_nothing_that_it_does_not_describe(pool_type: str) -> None:
    template = pool_template(pool_type, OUTPUTS, SECRETS)
    asked = {one.name for one in find_placeholders(json.dumps(template["job_configuration"]))}
    assert asked <= template["variables"]["properties"].keys()


def test_on_kubernetes_a_run_gets_its_size_its_secrets_and_time_to_stop() -> None:
    job = rendered("kubernetes", {"image": "millrace:abc", "cpu": 1024, "memory": 4096})["job_manifest"]
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "millrace:abc"
    assert container["resources"] == {
        "requests": {"cpu": "1024m", "memory": "4096Mi"},
        "limits": {"memory": "4096Mi"},
    }
    assert container["envFrom"] == [{"secretRef": {"name": "millrace", "optional": True}}]
    assert container["securityContext"]["runAsUser"] == 10001
    assert (pod["terminationGracePeriodSeconds"], job["spec"]["backoffLimit"]) == (120, 0)


def test_in_docker_a_run_gets_its_size() -> None:
    job = rendered("docker", {"image": "millrace:abc", "cpu": 1024, "memory": 4096})
    assert (job["image"], job["mem_limit"], job["container_create_kwargs"]) == (
        "millrace:abc", "4096m", {"cpu_shares": 1024}
    )  # fmt: skip


def test_a_process_is_started_as_prefect_starts_it() -> None:
    job = ProcessJobConfiguration.model_validate(rendered("process", {"image": "", "cpu": 512, "memory": 1024}))
    assert job.command == OF_A_RUN["command"]


@pytest.mark.parametrize(
    "form",
    [
        lambda: OUTPUTS,
        lambda: {
            name: {"value": value.split(",") if "," in value else value, "type": "…", "sensitive": False}
            for name, value in OUTPUTS.items()
        },
        lambda: {"MillraceStack": OUTPUTS},
    ],
    ids=["plain", "terraform output -json", "cdk deploy --outputs-file"],
)
def test_what_other_tools_made_fills_the_template_of_ecs(
    form: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs, secrets = tmp_path / "outputs.json", tmp_path / "secrets.json"
    outputs.write_text(json.dumps(form()))
    secrets.write_text(json.dumps(SECRETS))
    assert read_outputs(outputs) == OUTPUTS
    monkeypatch.setattr("sys.argv", ["pool_template", "ecs", f"--outputs={outputs}", f"--secrets={secrets}"])
    assert main() == 0
    assert json.loads(capsys.readouterr().out) == fill_template(OUTPUTS, SECRETS)


def test_without_a_queue_its_outputs_are_not_asked_for() -> None:
    found = {name: value for name, value in OUTPUTS.items() if not name.startswith("Events")}
    container = fill_template(found, SECRETS)["job_configuration"]["task_definition"]["containerDefinitions"][0]
    assert {one["name"] for one in container["environment"]} == {
        "ALERT_TOPIC_ARN", "LANDING_BUCKET", "PROCESSED_BUCKET", "WAREHOUSE_IAM_ROLE"
    }  # fmt: skip
    assert fill_template(OUTPUTS, SECRETS) != fill_template(found, SECRETS)


@pytest.mark.parametrize(
    ("content", "problem"),
    [("{}", "no output LandingBucket"), ("[]", "no object"), ("{", "cannot be read"), (None, "cannot be read")],
)
def test_what_is_missing_is_named(
    content: str | None,
    problem: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outputs = tmp_path / "outputs.json"
    if content is not None:
        outputs.write_text(content)
    monkeypatch.setattr("sys.argv", ["pool_template", "ecs:push", f"--outputs={outputs}"])
    assert main() == 2
    said = capsys.readouterr()
    assert (said.out, problem in said.err) == ("", True)
