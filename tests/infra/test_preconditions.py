"""What is checked of a network and of buckets before anything is made in it, on the emulator of AWS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from infra.change import Action
from infra.cloud_environment import CloudEnvironment
from infra.preconditions import apply_preconditions
from infra.settings import Network, Settings
from local.stack import Stack
from millrace.base.errors import ConfigurationError

ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")


@dataclass(frozen=True)
class Vpc:
    """A VPC with subnets in these zones."""

    client: Any
    vpc_id: str
    subnet_ids: tuple[str, ...]


@pytest.fixture
def vpc(stack: Stack) -> Vpc:
    """A VPC with a subnet in each of three zones."""
    return make_vpc(stack, ZONES)


def make_vpc(stack: Stack, zones: tuple[str, ...]) -> Vpc:
    client = stack.aws.client("ec2")
    vpc_id = client.create_vpc(CidrBlock="10.61.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        client.create_subnet(VpcId=vpc_id, CidrBlock=f"10.61.{number}.0/24", AvailabilityZone=zone)
        for number, zone in enumerate(zones)
    ]
    return Vpc(client, vpc_id, tuple(one["Subnet"]["SubnetId"] for one in subnets))


def environment(stack: Stack, network: Network | None = None, **settings: Any) -> CloudEnvironment:
    return CloudEnvironment(Settings(name="night", network=network, **settings), stack.aws.environment())


def test_subnets_of_another_vpc_are_named(stack: Stack, vpc: Vpc) -> None:
    network = Network(vpc_id=make_vpc(stack, ZONES).vpc_id, subnet_ids=vpc.subnet_ids)
    with pytest.raises(ConfigurationError, match=f"{vpc.subnet_ids[0]}.* are not of {network.vpc_id}"):
        list(apply_preconditions(environment(stack, network)))


def test_a_missing_way_to_the_lake_is_left_with_its_command(stack: Stack, vpc: Vpc) -> None:
    network = Network(vpc_id=vpc.vpc_id, subnet_ids=vpc.subnet_ids)
    list(apply_preconditions(environment(stack, network)))
    (left,) = apply_preconditions(environment(stack, network))
    assert left.action is Action.LEFT
    assert f"aws ec2 create-vpc-endpoint --vpc-id {vpc.vpc_id} --service-name com.amazonaws.us-east-1.s3" in left.detail
    vpc.client.create_vpc_endpoint(
        VpcId=vpc.vpc_id, ServiceName="com.amazonaws.us-east-1.s3", VpcEndpointType="Gateway"
    )
    assert list(apply_preconditions(environment(stack, network))) == []


def test_a_serverless_warehouse_wants_three_zones_and_not_three_subnets(stack: Stack, vpc: Vpc) -> None:
    two = make_vpc(stack, (ZONES[0], ZONES[1], ZONES[1]))
    for found, is_well in ((two, False), (vpc, True)):
        network = Network(vpc_id=found.vpc_id, subnet_ids=found.subnet_ids)
        target = environment(stack, network, warehouse="serverless")
        if is_well:
            list(apply_preconditions(target))
            continue
        with pytest.raises(ConfigurationError, match="needs subnets in 3 zones, and these are in 2"):
            list(apply_preconditions(target))


@pytest.fixture
def bucket(stack: Stack) -> Iterator[str]:
    """A bucket that somebody else made, in the region of the tests."""
    client = stack.aws.client("s3")
    client.create_bucket(Bucket="acme-landing")
    yield "acme-landing"
    client.delete_bucket(Bucket="acme-landing")


def test_a_bucket_that_is_there_is_said_to_stay_as_it_is(stack: Stack, bucket: str) -> None:
    target = environment(stack, landing_bucket=bucket, processed_bucket=bucket)
    list(apply_preconditions(target))
    (left,) = apply_preconditions(target)
    assert (left.action, left.name) == (Action.LEFT, bucket)
    assert "its policy, encryption and lifecycle stay as they are" in left.detail


def test_a_bucket_that_is_not_there_is_named(stack: Stack) -> None:
    with pytest.raises(ConfigurationError, match=r"bucket acme-nowhere: there is no such bucket.*correct its name"):
        list(apply_preconditions(environment(stack, processed_bucket="acme-nowhere")))


def test_a_bucket_of_another_region_is_refused(stack: Stack) -> None:
    """COPY of Parquet reads none."""
    client = stack.aws.client("s3")
    client.create_bucket(Bucket="acme-far", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    with pytest.raises(
        ConfigurationError, match=r"bucket acme-far: it is in eu-west-1, and the environment in us-east"
    ):
        list(apply_preconditions(environment(stack, landing_bucket="acme-far")))
    client.delete_bucket(Bucket="acme-far")
