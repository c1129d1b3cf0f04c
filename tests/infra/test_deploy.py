"""``python -m infra.deploy`` against the emulator's CloudFormation, Secrets Manager, ECR and ECS, and a Prefect server.

Only what builds images is a stand-in: a program that notes what it was asked. It is one test, of the life of an
environment: each step finds what the one before has left.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolUpdate
from prefect.settings import PREFECT_API_KEY, PREFECT_API_URL, PREFECT_CLOUD_API_URL, PREFECT_HOME, temporary_settings
from prefect.utilities.asyncutils import run_coro_as_sync

from infra import cloudformation, image, work_pool
from local.prefect_server import launch_prefect_server, wait_for_prefect_server
from local.stack import Stack
from tests.conftest import drain
from tests.infra.trial import COMMIT, SECRET, SETTINGS, Trial, refusing
from tests.support.steps import steps_of, take_steps

URLS = {
    "SOURCE_POSTGRES_URL": f"postgresql://reader:{SECRET}@db.example.com/bank",
    "SOURCE_MONGO_URL": f"mongodb://reader:{SECRET}@docs.example.com/",
    "WAREHOUSE_URL": f"redshift://loader:{SECRET}@cluster.example.com/warehouse",
}
ROTATED = {"SOURCE_POSTGRES_URL": f"postgresql://reader:{SECRET}-2@db.example.com/bank"}
REPOSITORY = "123456789012.dkr.ecr.us-east-1.amazonaws.com/millrace-trial"
GIVEN = "acme-lake"
FOLLOWED = {"request": {"pipeline": "events", "every_seconds": 5}}
BUILDER = """#!/bin/sh
echo "$@" >> {directory}/asked
test ! -e {directory}/broken || {{ echo "no space left" >&2; exit 1; }}
test "$1" != login || cat >> {directory}/asked
"""


@pytest.fixture(scope="module")
def trial(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    directory = tmp_path_factory.mktemp("deploy")
    database_url = stack.postgres.create_database("prefect_of_deploy")
    server = launch_prefect_server(directory / "prefect", database_url=database_url)
    wait_for_prefect_server(server)
    builder = directory / "podman"
    builder.write_text(BUILDER.format(directory=directory))
    builder.chmod(0o755)
    settings = {PREFECT_API_URL: server.api_url, PREFECT_HOME: server.home, PREFECT_API_KEY: f"pnu_{SECRET}"}
    with temporary_settings(settings), get_client(sync_client=True) as client, pytest.MonkeyPatch.context() as patch:
        patch.setattr(image, "commit", lambda: COMMIT)
        patch.setattr(cloudformation, "POLL_SECONDS", 0.1)
        variables = stack.aws.environment() | {"PREFECT_API_URL": server.api_url, "PREFECT_HOME": str(server.home)}
        variables["BUILDER"] = str(builder)
        made = Trial(stack, directory, client, variables)
        made.settings(SETTINGS)
        yield made
        run_coro_as_sync(drain())
    server.stop()


def step_another_account_is_refused(trial: Trial) -> None:
    trial.settings(SETTINGS.replace("123456789012", "210987654321"))
    assert "these credentials are of account 123456789012, not 210987654321" in trial.run("up", exit_code=2)
    trial.settings(SETTINGS)


def step_a_worker_on_aws_is_not_sent_to_this_machine(trial: Trial) -> None:
    trial.settings(SETTINGS.replace("prefect_api_url", "# prefect_api_url"))
    said = trial.run("diff", exit_code=2)
    assert "the worker cannot reach http://127.0.0.1" in said
    assert "Remedy: set PREFECT_API_URL, or the setting prefect_api_url" in said
    trial.settings(SETTINGS)


def step_without_a_server_of_prefect_nothing_begins(trial: Trial) -> None:
    with temporary_settings({PREFECT_API_URL: None}):
        assert "no Prefect server is named" in trial.run("up", exit_code=2)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert "check that PREFECT_API_URL is right and the server runs" in trial.run("up", exit_code=1)
    assert "millrace-trial" not in [one["StackName"] for one in trial.aws("cloudformation").describe_stacks()["Stacks"]]


def step_before_anything_is_there_the_difference_is_all(trial: Trial) -> None:
    changes = trial.changes("diff")
    assert changes["resource LandingBucket"] == changes["resource Cluster"] == "created"
    assert any(name.startswith("everything else") for name in changes)
    planned = trial.aws("cloudformation").list_stacks(StackStatusFilter=["REVIEW_IN_PROGRESS"])["StackSummaries"]
    assert "millrace-trial" not in [one["StackName"] for one in planned]
    assert trial.run("status", exit_code=1).count("is not there") == 1


def step_what_fails_half_way_is_told_and_what_was_made_stays(trial: Trial) -> None:
    (trial.directory / "broken").touch()
    said = trial.run("up", exit_code=1, **URLS)
    assert "no space left" in said
    assert "Remedy: fix that, then run the command again: it continues from what exists" in said
    assert trial.outputs()["RepositoryUri"] == REPOSITORY
    assert trial.client.read_work_pools() == []
    (trial.directory / "broken").unlink()
    (trial.directory / "asked").unlink()


def step_run_again_it_goes_on_and_makes_the_rest(trial: Trial) -> None:
    changes = trial.changes("up")
    assert not [name for name in changes if name.startswith("secret")]
    assert changes[f"image {REPOSITORY}:{COMMIT}"] == "created"
    made = {name for name in changes if name.startswith("deployment")}
    assert made == {
        "deployment replicate/stori", "deployment replicate/events", "deployment extract-queue/events",
        "deployment chart/events", "deployment follow/continuous", "deployment replicate/sweep",
        "deployment replicate/backfill", "deployment replicate/replay", "deployment reload/model",
    }  # fmt: skip
    assert changes["automation millrace: crashed"] == "created"
    assert "automation millrace: silent totesys" not in changes
    definition = trial.aws("ecs").describe_task_definition(taskDefinition="millrace-trial-worker")["taskDefinition"]
    assert definition["containerDefinitions"][0]["image"] == f"{REPOSITORY}:{COMMIT}"


def step_a_new_account_gets_the_role_of_ecs(trial: Trial) -> None:
    assert trial.aws("iam").list_roles(PathPrefix="/aws-service-role/ecs.amazonaws.com/")["Roles"]


def step_the_image_is_built_and_pushed_once_with_a_login(trial: Trial) -> None:
    build, login, password_and_push = (trial.directory / "asked").read_text().splitlines()
    assert build.startswith("build --platform linux/amd64")
    assert f"--tag {REPOSITORY}:{COMMIT}" in build
    assert login == "login --username AWS --password-stdin 123456789012.dkr.ecr.us-east-1.amazonaws.com"
    assert password_and_push == f"ministack-auth-tokenpush {REPOSITORY}:{COMMIT}"


def step_nothing_secret_is_in_what_prefect_keeps(trial: Trial) -> None:
    pool = trial.client.read_work_pool(work_pool.NAME)
    container = pool.base_job_template["job_configuration"]["task_definition"]["containerDefinitions"][0]
    assert {one["name"] for one in container["secrets"]} == set(URLS)
    assert SECRET not in json.dumps(pool.base_job_template)
    documents = trial.client.request("POST", "/block_documents/filter", json={"include_secrets": True}).json()
    assert {"warehouse", "source-postgres", "source-mongo", "landing", "alerts"} <= {one["name"] for one in documents}
    assert SECRET not in json.dumps(documents)
    assert "${SOURCE_MONGO_URL}" in json.dumps(documents)


def step_the_second_time_nothing_changes_whatever_is_set_in_the_terminal(trial: Trial) -> None:
    trial.push(COMMIT)
    assert trial.run("up", **ROTATED).endswith("No change.\n")


def step_a_secret_is_replaced_when_it_is_said_and_the_key_of_prefect_stays(trial: Trial) -> None:
    """Whoever types it has a key of Prefect Cloud as well, which must not become production's."""
    with temporary_settings({PREFECT_API_KEY: f"pnu_{SECRET}_of_bob"}):
        assert trial.changes("up", "--set-secrets", **ROTATED) == {"secret SOURCE_POSTGRES_URL": "updated"}
    stored = trial.aws("secretsmanager").get_secret_value(SecretId="millrace/trial/SOURCE_POSTGRES_URL")
    assert stored["SecretString"] == ROTATED["SOURCE_POSTGRES_URL"]


def step_what_prefect_refuses_is_left_and_all_else_is_made(trial: Trial) -> None:
    """A plan that allows no automations and no deployments: the command goes on to its end."""
    for refused in ("/api/automations/", "/api/deployments/"):
        trial.remove_one_of_each()
        with refusing(trial.variables["PREFECT_API_URL"], refused) as url, temporary_settings({PREFECT_API_URL: url}):
            said = trial.run("up", PREFECT_API_URL=url)
        assert "! " in said
        assert "Your plan allows no more" in said
        assert "see what the plan of Prefect and the role of the key allow" in said
    assert trial.changes("up")["deployment replicate/stori"] == "created"
    assert trial.changes("up") == {}


def step_on_prefect_cloud_no_automation_has_a_block_of_ours(trial: Trial) -> None:
    """Prefect Cloud would make it, and tell nobody."""
    with temporary_settings({PREFECT_CLOUD_API_URL: trial.variables["PREFECT_API_URL"]}):
        said = trial.run("up")
    assert "no alert is sent: Prefect Cloud runs no block type of ours; save a Slack" in said
    assert trial.changes("up")["automation millrace: crashed"] == "created"


def step_what_somebody_changed_is_found(trial: Trial) -> None:
    pool = trial.client.read_work_pool(work_pool.NAME)
    pool.base_job_template["variables"]["properties"]["cluster"]["default"] = "another"
    trial.client.update_work_pool(work_pool.NAME, WorkPoolUpdate(base_job_template=pool.base_job_template))
    stori = trial.client.read_deployment_by_name("replicate/stori")
    trial.client.update_deployment_schedule(stori.id, stori.schedules[0].id, active=False)
    trial.client.update_deployment(stori.id, DeploymentUpdate(parameters={}))
    # These are no difference: whoever runs a deployment for any pipeline says which one.
    follow = trial.client.read_deployment_by_name("follow/continuous")
    trial.client.update_deployment_schedule(follow.id, follow.schedules[0].id, active=True)
    trial.client.update_deployment(follow.id, DeploymentUpdate(parameters=FOLLOWED))
    trial.settings(SETTINGS.replace("data@", "night@"))
    assert trial.changes("diff") == {
        "resource AlertEmailSubscription": "updated",
        f"work pool {work_pool.NAME}": "updated",
        "deployment replicate/stori": "updated",
    }


def step_another_environment_is_neither_taken_over_nor_deleted(trial: Trial) -> None:
    """It has the same names in Prefect, so that whose they are is said in the work pool."""
    pool = trial.client.read_work_pool(work_pool.NAME)
    assert pool.description == "Millrace environment trial in AWS account 123456789012, region us-east-1."
    other = "Millrace environment staging in AWS account 123456789012, region us-east-1."
    trial.client.update_work_pool(work_pool.NAME, WorkPoolUpdate(description=other))
    for command in (["up"], ["diff"], ["status"], ["down", "--yes", "--delete-data"]):
        said = trial.run(*command, exit_code=2)
        assert f"it is of another environment ({other})" in said
        assert "choose the Prefect workspace or server of trial" in said
    assert len(trial.client.read_deployments()) > 1
    # One that was made before pools had a description is taken over.
    trial.client.update_work_pool(work_pool.NAME, WorkPoolUpdate(description=""))
    assert trial.changes("diff")[f"work pool {work_pool.NAME}"] == "updated"


def step_an_image_to_go_back_to_has_to_be_there(trial: Trial) -> None:
    assert "there is no image 0123abc" in trial.run("up", "--image", "0123abc", exit_code=2)


def step_going_back_corrects_what_was_changed_and_what_was_paused_stays_paused(trial: Trial) -> None:
    trial.push("0123abc")
    changes = trial.changes("up", "--image", "0123abc")
    assert changes[f"work pool {work_pool.NAME}"] == changes["resource WorkerDefinition"] == "updated"
    assert trial.client.read_deployment_by_name("chart/events").job_variables["image"] == f"{REPOSITORY}:0123abc"
    stori = trial.client.read_deployment_by_name("replicate/stori")
    assert stori.parameters == {"request": {"pipeline": "stori"}}
    assert [one.active for one in stori.schedules] == [False]
    follow = trial.client.read_deployment_by_name("follow/continuous")
    assert follow.job_variables["image"] == f"{REPOSITORY}:0123abc"
    assert ([one.active for one in follow.schedules], follow.parameters) == ([True], FOLLOWED)


def step_the_status_tells_what_is_missing(trial: Trial) -> None:
    said = trial.run("status", exit_code=1)
    assert "● stack millrace-trial: UPDATE_COMPLETE" in said
    assert "● secret SOURCE_MYSQL_STOCKS_URL: it has no value: set SOURCE_MYSQL_STOCKS_URL here, or" in said
    assert "● deployment replicate/stori: no run yet" in said
    assert "● worker: 1 of 1 run" in said
    assert " confirmed subscriptions" in said, "the emulator confirms by itself"


def step_the_secrets_of_a_pipeline_that_was_added_are_not_there_yet(trial: Trial) -> None:
    trial.settings(SETTINGS.replace('"stocks"', '"stocks", "totesys"'))
    told = "SOURCE_POSTGRES_TOTESYS_URL: it is not there yet: `up` with SOURCE_POSTGRES_TOTESYS_URL set here makes it"
    assert f"● secret {told}" in trial.run("status", exit_code=1)
    assert told.partition(": ")[2] in trial.run("diff", "--image", "0123abc")
    trial.settings(SETTINGS)


def step_a_secret_that_is_to_be_deleted_is_named_with_the_command_that_restores_it(trial: Trial) -> None:
    """Nobody can read or write it until then, also not with --set-secrets."""
    client, name = trial.aws("secretsmanager"), "millrace/trial/SOURCE_MONGO_URL"
    client.delete_secret(SecretId=name, RecoveryWindowInDays=7)
    told = f"it is scheduled for deletion: `aws secretsmanager restore-secret --secret-id {name}` brings its value back"
    assert f"● secret SOURCE_MONGO_URL: {told}" in trial.run("status", exit_code=1)
    said = trial.run("up", "--image", "0123abc", "--set-secrets", **URLS)
    assert f"! secret SOURCE_MONGO_URL: left ({told})" in said
    client.restore_secret(SecretId=name)
    trial.run("up", "--image", "0123abc")
    assert "● secret SOURCE_MONGO_URL: has a value" in trial.run("status", exit_code=1)


def step_the_value_of_a_secret_that_leaves_can_be_had_back(trial: Trial) -> None:
    """CloudFormation deletes a secret without recovery."""
    trial.settings(SETTINGS.replace('"stori", "events", "stocks"', '"events"'))
    for _ in range(2):
        changes = trial.changes("up", "--image", "0123abc")
        assert changes["secret SOURCE_MONGO_URL"] == "removed"
        client, name = trial.aws("secretsmanager"), "millrace/trial/removed/SOURCE_MONGO_URL"
        client.restore_secret(SecretId=name)
        assert client.get_secret_value(SecretId=name)["SecretString"] == URLS["SOURCE_MONGO_URL"]
        client.delete_secret(SecretId=name, RecoveryWindowInDays=30)
        trial.settings(SETTINGS)
        trial.changes("up", "--image", "0123abc", **URLS)
        trial.settings(SETTINGS.replace('"stori", "events", "stocks"', '"events"'))
    trial.settings(SETTINGS)


def step_what_holds_data_is_not_deleted_unless_told(trial: Trial) -> None:
    outputs = trial.outputs()
    trial.aws("s3").put_object(Bucket=outputs["LandingBucket"], Key="stori/x", Body=b"x")
    # Deleted, but still to be had back.
    trial.aws("s3").put_object(Bucket=outputs["ProcessedBucket"], Key="stori/x", Body=b"x")
    trial.aws("s3").delete_object(Bucket=outputs["ProcessedBucket"], Key="stori/x")
    trial.aws("sqs").send_message(QueueUrl=outputs["EventsQueueUrl"], MessageBody="{}")
    said = trial.run("down", "--yes", exit_code=2)
    assert outputs["LandingBucket"] in said
    assert outputs["ProcessedBucket"] in said
    assert outputs["EventsQueueUrl"] in said
    assert "--delete-data" in said
    assert trial.changes("diff", "--image", "0123abc") == {}


def step_a_bucket_that_is_there_takes_the_place_of_the_made_one_which_stays(trial: Trial) -> None:
    client, made = trial.aws("s3"), trial.outputs()["LandingBucket"]
    client.create_bucket(Bucket=GIVEN)
    client.put_object(Bucket=GIVEN, Key="ours/x", Body=b"x")
    trial.settings(f'landing_bucket = "{GIVEN}"\n{SETTINGS}')
    said = trial.run("up", "--image", "0123abc")
    assert f"! bucket {GIVEN}: left (it is yours: its policy, encryption and lifecycle stay as they are" in said
    assert trial.outputs()["LandingBucket"] == GIVEN
    with pytest.raises(ClientError, match="NoSuchBucketPolicy"):
        client.get_bucket_policy(Bucket=GIVEN)
    assert client.get_object(Bucket=made, Key="stori/x")["Body"].read() == b"x"
    for one in client.list_object_versions(Bucket=made)["Versions"]:
        client.delete_object(Bucket=made, Key=one["Key"], VersionId=one["VersionId"])
    client.delete_bucket(Bucket=made)


def step_down_leaves_nothing_of_ours(trial: Trial) -> None:
    # Who gave the bucket has forgotten the line: the stack still knows that it did not make it.
    trial.settings(SETTINGS)
    outputs = trial.outputs()
    for task in trial.aws("ecs").list_tasks(cluster=outputs["ClusterArn"])["taskArns"]:
        trial.aws("ecs").stop_task(cluster=outputs["ClusterArn"], task=task)
    changes = trial.changes("down", "--yes", "--delete-data")
    assert set(changes.values()) == {"removed"}
    assert f"bucket {GIVEN}" not in changes
    assert trial.aws("s3").get_object(Bucket=GIVEN, Key="ours/x")["Body"].read() == b"x"
    assert trial.client.read_work_pools() == []
    assert trial.client.read_deployments() == []
    assert trial.client.request("POST", "/automations/filter", json={}).json() == []
    assert not [one for one in trial.aws("s3").list_buckets()["Buckets"] if "trial" in one["Name"]]
    assert trial.run("down", "--yes").endswith("No change.\n")


def test_an_environment_from_its_first_day_to_its_last(trial: Trial, subtests: pytest.Subtests) -> None:
    take_steps(steps_of(globals()), subtests, trial)
