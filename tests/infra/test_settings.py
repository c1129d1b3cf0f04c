"""What may be said of an environment, and what follows from it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.cloud_environment import CloudEnvironment
from infra.deploy import application
from infra.release import task_variables
from infra.settings import ENVIRONMENTS, read_settings, runnable
from local.stack import Stack
from millrace.base.errors import ConfigurationError
from millrace.blocks.environment import make_blocks
from millrace.blocks.names import variables_of
from millrace.declaration.find import find_pipeline
from tests.infra.stack_outputs import OUTPUTS
from tests.infra.stack_template import TEMPLATE


@pytest.mark.parametrize("name", sorted(one.stem for one in ENVIRONMENTS.glob("*.toml")))
def test_the_stack_gets_every_parameter_that_it_has(name: str) -> None:
    given = read_settings(name).parameters(worker_image="image", prefect_api_url="https://prefect.example.com/api")
    declared = TEMPLATE["Parameters"]
    assert given.keys() == declared.keys()
    for parameter, value in given.items():
        allowed = declared[parameter].get("AllowedValues")
        assert allowed is None or value in [str(one) for one in allowed], parameter


def test_production_asks_for_what_its_pipelines_connect_to() -> None:
    assert read_settings("prod").secret_variables() == ["SOURCE_MONGO_URL", "SOURCE_POSTGRES_URL", "WAREHOUSE_URL"]


def test_a_secret_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    file = tmp_path / "night.toml"
    arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:warehouse-AbCdEf"
    file.write_text(f'pipelines = ["stori"]\nsecret_arns = {{ WAREHOUSE_URL = "{arn}" }}\n')
    settings = read_settings(str(file))
    assert settings.secret_variables() == ["SOURCE_MONGO_URL", "SOURCE_POSTGRES_URL"]
    assert settings.parameters(worker_image="", prefect_api_url="")["SecretArns"] == arn


def test_a_pipeline_that_names_a_warehouse_cannot_run_without_it() -> None:
    needed = variables_of(find_pipeline("stocks"))
    assert needed == {"SOURCE_MYSQL_STOCKS_URL", "WAREHOUSE_STOCKS_URL", "WAREHOUSE_URL"}
    assert runnable(["stocks"], needed - {"WAREHOUSE_STOCKS_URL"}) == []
    assert runnable(["stocks"], needed) == ["stocks"]
    assert runnable(["stocks", "events"], {"WAREHOUSE_URL"}) == ["events"]


def test_a_network_that_is_there(tmp_path: Path) -> None:
    file = tmp_path / "night.toml"
    file.write_text('[network]\nvpc_id = "vpc-1"\nsubnet_ids = ["subnet-1", "subnet-2"]\n')
    parameters = read_settings(str(file)).parameters(worker_image="", prefect_api_url="")
    assert (parameters["EnvironmentName"], parameters["VpcId"]) == ("night", "vpc-1")
    assert (parameters["SubnetIds"], parameters["AssignPublicIp"]) == ("subnet-1,subnet-2", "DISABLED")


def test_buckets_and_logins_that_are_there(tmp_path: Path) -> None:
    logins = [
        "arn:aws:redshift-serverless:eu-west-1:123456789012:workgroup/0a1b",
        "arn:aws:redshift:eu-west-1:123456789012:dbname:dwh/warehouse",
        "arn:aws:redshift:eu-west-1:123456789012:dbuser:dwh/loader",
        "arn:aws:iam::210987654321:role/millrace-login",
    ]
    file = tmp_path / "night.toml"
    file.write_text(f'landing_bucket = "acme-landing"\nwarehouse_login_arns = {logins}\n')
    parameters = read_settings(str(file)).parameters(worker_image="", prefect_api_url="")
    assert (parameters["LandingBucketName"], parameters["ProcessedBucketName"]) == ("acme-landing", "")
    assert parameters["WarehouseLoginArns"] == ",".join(logins)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("colour = 1", "colour: Extra inputs are not permitted"),
        ('schedules = "never"', "schedules: Input should be 'active' or 'paused'"),
        ("region = [", "this is not TOML"),
        ('landing_bucket = "s3://acme"', "landing_bucket: String should match"),
        ('warehouse_login_arns = ["*"]', "warehouse_login_arns.0: String should match"),
        ('pipelines = ["stori", "storri"]', "there is no pipeline 'storri'"),
        ('[network]\nvpc_id = "vpc-1"\nsubnet_ids = []', "network.subnet_ids"),
        (
            'warehouse = "serverless"\n[network]\nvpc_id = "vpc-1"\nsubnet_ids = ["subnet-1", "subnet-2"]',
            "Redshift Serverless needs 3 subnets in as many zones",
        ),
    ],
)
def test_what_makes_no_sense_is_named(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "trial.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=told):
        read_settings(str(file))


def test_a_name_that_aws_would_refuse_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "Production_1.toml"
    file.touch()
    with pytest.raises(ConfigurationError, match="name: String should match"):
        read_settings(str(file))


def test_the_command_names_the_environments_there_are() -> None:
    done = CliRunner().invoke(application, ["up", "--env", "nowhere"])
    assert done.exit_code == 2
    assert "nowhere.toml: there is no such file. Remedy: write it, or choose from local, prod" in done.output


def test_blocks_are_made_before_their_secrets_have_values(stack: Stack) -> None:
    settings = read_settings("prod").model_copy(update={"pipelines": ("stori", "events", "totesys", "stocks")})
    target = CloudEnvironment(settings, stack.aws.environment(), outputs=dict(OUTPUTS))
    made = {name for name, _ in make_blocks(task_variables(target))}
    assert {"warehouse", "source-postgres", "source-postgres-totesys", "source-mongo", "source-mysql-stocks"} <= made
    assert "warehouse-stocks" in made
