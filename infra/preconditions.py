"""What an account must have before the stack can be made, and what CloudFormation would find out after minutes."""

from __future__ import annotations

from collections.abc import Iterator

from botocore.exceptions import ClientError

from infra.change import Action, StackChange
from infra.cloud_environment import CloudEnvironment
from infra.settings import SERVERLESS_ZONES, Network
from millrace.base.errors import ConfigurationError

ECS_SERVICE = "ecs.amazonaws.com"
ECS_ROLE_PATH = f"/aws-service-role/{ECS_SERVICE}/"
KIND = "precondition"
NETWORK_PAGE = "docs/guides/network.md"
DEPLOY_PAGE = "docs/guides/deploy.md"


def apply_preconditions(cloud: CloudEnvironment, *, dry_run: bool = False) -> Iterator[StackChange]:
    """Check network and given buckets, and create the role of ECS that a new account does not have yet.

    Raises ConfigurationError if subnets or buckets cannot serve.
    """
    if network := cloud.settings.network:
        yield from _check_network(cloud, network)
    elif cloud.settings.warehouse == "serverless":
        zones = cloud.client("ec2").describe_availability_zones()["AvailabilityZones"]
        _require_zones(cloud, {zone["ZoneName"] for zone in zones})
    for bucket in dict.fromkeys((cloud.settings.landing_bucket, cloud.settings.processed_bucket)):
        if bucket:
            yield _check_bucket(cloud, bucket)
    yield from _service_linked_role(cloud, dry_run)


def _check_bucket(cloud: CloudEnvironment, bucket: str) -> StackChange:
    """Check that a given bucket can be used from the environment's region; say that it stays as it is."""
    region = cloud.session.region_name
    try:
        found = cloud.client("s3").head_bucket(Bucket=bucket).get("BucketRegion", region)
    except ClientError as error:
        raise _bucket_error(error, bucket) from None
    if found != region:
        raise ConfigurationError(
            f"it is in {found}, and the environment in {region}",
            place=f"bucket {bucket}",
            remedy="name a bucket of the environment's region: COPY of Parquet reads no other",
        )
    return StackChange(
        "bucket",
        bucket,
        Action.LEFT,
        f"it is yours: its policy, encryption and lifecycle stay as they are ({DEPLOY_PAGE})",
    )


def _bucket_error(error: ClientError, bucket: str) -> ConfigurationError:
    """Return the error for a bucket that does not answer: S3 tells a bucket in another region by a redirection."""
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    headers = error.response["ResponseMetadata"].get("HTTPHeaders", {})
    problem, remedy = {
        404: ("there is no such bucket", "correct its name, or leave the setting out: a bucket is made then"),
        403: ("these credentials may not look at it", "let them (s3:ListBucket), also in the bucket's own policy"),
    }.get(
        status,
        (
            f"S3 answers {status}; its region is {headers.get('x-amz-bucket-region', 'not told')}",
            "name a bucket of the environment's region",
        ),
    )
    return ConfigurationError(problem, place=f"bucket {bucket}", remedy=remedy)


def _check_network(cloud: CloudEnvironment, network: Network) -> Iterator[StackChange]:
    client = cloud.client("ec2")
    subnets = client.describe_subnets(SubnetIds=list(network.subnet_ids))["Subnets"]
    if strangers := [one["SubnetId"] for one in subnets if one["VpcId"] != network.vpc_id]:
        raise ConfigurationError(
            f"{', '.join(strangers)} are not of {network.vpc_id}",
            place=f"environment {cloud.settings.name}",
            remedy="name the VPC and its own subnets in [network]",
        )
    if cloud.settings.warehouse == "serverless":
        _require_zones(cloud, {one["AvailabilityZone"] for one in subnets})
    name = f"com.amazonaws.{cloud.session.region_name}.s3"
    wanted = [{"Name": "vpc-id", "Values": [network.vpc_id]}, {"Name": "service-name", "Values": [name]}]
    if not client.describe_vpc_endpoints(Filters=wanted)["VpcEndpoints"]:
        yield StackChange(
            KIND,
            f"S3 endpoint of {network.vpc_id}",
            Action.LEFT,
            "the lake's traffic goes through NAT, which costs for each gigabyte: `aws ec2 create-vpc-endpoint --vpc-id "
            f"{network.vpc_id} --service-name {name} --route-table-ids ROUTE_TABLES` ({NETWORK_PAGE})",
        )


def _require_zones(cloud: CloudEnvironment, zones: set[str]) -> None:
    if len(zones) < SERVERLESS_ZONES:
        raise ConfigurationError(
            f"Redshift Serverless needs subnets in {SERVERLESS_ZONES} zones, and these are in {len(zones)}",
            place=f"environment {cloud.settings.name}",
            remedy='name subnets in three zones, another region, or a cluster of your own (warehouse = "given")',
        )


def _service_linked_role(cloud: CloudEnvironment, dry_run: bool) -> Iterator[StackChange]:
    """Create the role with which ECS acts for the account; a cluster cannot be created without it."""
    client = cloud.client("iam")
    if not client.list_roles(PathPrefix=ECS_ROLE_PATH)["Roles"]:
        if not dry_run:
            client.create_service_linked_role(AWSServiceName=ECS_SERVICE)
        yield StackChange("role", f"of {ECS_SERVICE}", Action.CREATED)
