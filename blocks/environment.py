"""Every environment variable that the product reads, as data, and the blocks that they describe.

The table of docs/settings.md is checked against ``VARIABLES``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TypeVar, cast

from prefect.blocks.core import Block
from prefect.blocks.system import Secret
from prefect_aws import AwsClientParameters, AwsCredentials
from prefect_aws.s3 import S3Bucket
from pydantic import SecretStr, ValidationError

from millrace.base.errors import ConfigurationError
from millrace.blocks import names
from millrace.blocks.databases import DATABASES
from millrace.blocks.leases import PLACES, refuse_place
from millrace.blocks.queue import Queue
from millrace.blocks.reference import UrlBlock
from millrace.blocks.sns import SnsNotification
from millrace.blocks.sql import WAREHOUSE_CONNECTION, Warehouse
from millrace.blocks.variables import Variable
from millrace.declaration.masks import DEFAULT_KEY
from millrace.declaration.source_kinds import SOURCE_KINDS, SourceKind

VARIABLES = (
    *(database.variable for database in DATABASES.values()),
    Variable(
        "SOURCE_SQS_URL",
        "the source queue on SQS; SOURCE_SQS_<CONNECTION>_URL is a further one, `sqs/<connection>` in a stream, and "
        "SOURCE_SQS_<CONNECTION>_DEAD_LETTER_URL where its malformed messages go",
        "https://sqs.eu-west-1.amazonaws.com/123456789012/events",
        "one source at least",
    ),
    Variable(
        "WAREHOUSE_URL",
        "the warehouse: Redshift, or Postgres (postgresql://); redshift+iam:// needs no password; "
        'WAREHOUSE_<NAME>_URL is that of pipelines with `warehouse="<name>"`',
        "redshift://loader:password@cluster.example.com:5439/warehouse",
        "always",
        secret=True,
    ),
    Variable(
        "WAREHOUSE_IAM_ROLE",
        "ARN of the role with which Redshift reads the lake, or `default` for the cluster's own; "
        "WAREHOUSE_<NAME>_IAM_ROLE with WAREHOUSE_<NAME>_URL",
        "arn:aws:iam::123456789012:role/millrace-warehouse",
        "on Redshift",
    ),
    Variable(
        "WAREHOUSE_LEASES",
        "where leases and positions are kept: `lake` (an idle run sends no statement to the warehouse) or `warehouse`; "
        "WAREHOUSE_<NAME>_LEASES with WAREHOUSE_<NAME>_URL",
        "lake",
        "unless `lake` for Redshift Serverless and `warehouse` for others is right",
    ),
    Variable("LANDING_BUCKET", "the S3 bucket that batches are written to", "acme-landing", "always"),
    Variable(
        "PROCESSED_BUCKET",
        "the S3 bucket for the batches of models, and for charts",
        "acme-processed",
        "always",
    ),
    Variable(
        "MASK_KEY",
        "the secret key of hashed values, for streams with `mask={…: Hash()}`; MASK_<NAME>_KEY is that of "
        '`Hash("<name>")`',
        "a long random text",
        "for Hash",
        secret=True,
    ),
    Variable(
        "ALERT_TOPIC_ARN",
        "the SNS topic that alerts are published to; other channels are notification blocks named `alerts`",
        "arn:aws:sns:eu-west-1:123456789012:millrace-alerts",
        "for alerts by SNS",
    ),
    Variable("AWS_DEFAULT_REGION", "the region of the buckets", "eu-west-1", "unless AWS itself tells it"),
    Variable(
        "AWS_ENDPOINT_URL",
        "another endpoint than AWS's own, for an emulator",
        "http://127.0.0.1:4566",
        "for an emulator",
    ),
    Variable(
        "AWS_ACCESS_KEY_ID",
        "key of the emulator; stored only with AWS_ENDPOINT_URL, elsewhere the task's role is used",
        "123456789012",
        "for an emulator",
    ),
    Variable("AWS_SECRET_ACCESS_KEY", "secret of that key", "local", "for an emulator", secret=True),
    Variable("PREFECT_API_URL", "the Prefect server's API", "http://127.0.0.1:4200/api", "unless a profile names it"),
    Variable("PREFECT_API_KEY", "key of Prefect Cloud", "pnu_…", "on Prefect Cloud", secret=True),
    Variable(
        "PREFECT_UI_URL",
        "the address of Prefect's UI, for links in alerts",
        "https://prefect.example.com",
        "unless it is PREFECT_API_URL without /api",
    ),
)
_SOURCE = re.compile(
    rf"SOURCE_(?P<kind>{'|'.join(name.upper() for name in SOURCE_KINDS)})(_(?P<connection>[A-Z0-9_]+))?_URL"
)
_WAREHOUSE = re.compile(r"(?P<prefix>WAREHOUSE(_(?P<connection>[A-Z0-9_]+))?)_(URL|IAM_ROLE|LEASES)")
_MASK_KEY = re.compile(r"MASK(_(?P<connection>[A-Z0-9_]+))?_KEY")
AnyBlock = TypeVar("AnyBlock", bound=Block)
_BY_NAME = {variable.name: variable for variable in VARIABLES}


def make_blocks(environment: Mapping[str, str]) -> Iterator[tuple[str, Block]]:
    """Yield name and block of every document that the environment describes.

    A block comes after the blocks that it holds. Raises ConfigurationError that names every missing variable, or the
    wrong one.
    """
    _require(environment)
    yield from _databases(environment)
    yield from _warehouses(environment)
    yield from _mask_keys(environment)
    yield from _on_aws(environment)


def _require(environment: Mapping[str, str]) -> None:
    missing = {name: name for name in ("LANDING_BUCKET", "PROCESSED_BUCKET") if not environment.get(name)}
    if not any(_SOURCE.fullmatch(name) and value for name, value in environment.items()):
        missing["SOURCE_POSTGRES_URL"] = "SOURCE_POSTGRES_URL"
    for prefix in warehouse_prefixes(environment):
        url = environment.get(f"{prefix}_URL", "")
        if not url:
            missing[f"{prefix}_URL"] = "WAREHOUSE_URL"
        if url.startswith("redshift") and not environment.get(f"{prefix}_IAM_ROLE"):
            missing[f"{prefix}_IAM_ROLE"] = "WAREHOUSE_IAM_ROLE"
    if missing:
        described = {name: _BY_NAME[variable_name] for name, variable_name in missing.items()}
        descriptions = "; ".join(
            f"{name} ({variable.meaning}), such as {variable.example}" for name, variable in described.items()
        )
        raise ConfigurationError("variables are missing", place="environment", remedy=f"set {descriptions}")


def warehouse_prefixes(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the connections of warehouses by the beginning of their variables' names, the common warehouse first."""
    found = {name: _WAREHOUSE.fullmatch(name) for name in sorted(environment) if environment[name]}
    named = {match["prefix"]: _connection(match) for match in found.values() if match}
    return {"WAREHOUSE": ""} | named


def _connection(match: re.Match[str]) -> str:
    return (match["connection"] or "").lower().replace("_", "-")


def sources_of(environment: Mapping[str, str]) -> Iterator[tuple[SourceKind, str, str]]:
    """Yield kind, name of the document and variable of each source."""
    for variable, url in sorted(environment.items()):
        match = _SOURCE.fullmatch(variable)
        if match and url:
            kind = SOURCE_KINDS[match["kind"].lower()]
            yield kind, names.source_name(kind.name, _connection(match)), variable


def _databases(environment: Mapping[str, str]) -> Iterator[tuple[str, Block]]:
    for kind, name, variable in sources_of(environment):
        if kind in DATABASES:
            yield name, make_secret_block(variable, environment[variable])


def _mask_keys(environment: Mapping[str, str]) -> Iterator[tuple[str, Block]]:
    for variable, value in sorted(environment.items()):
        match = _MASK_KEY.fullmatch(variable)
        if match and value:
            yield names.mask_key_name(_connection(match) or DEFAULT_KEY), make_secret_block(variable, value)


def _make_key_block(url: str, *, place: str = "") -> Block:  # noqa: ARG001 - any text is a key
    return Secret(value=SecretStr(url))


MASK_KEY = UrlBlock(Secret, _make_key_block, _make_key_block, lambda block: str(block.get()))
"""The block of a key of hashes: Prefect's own."""


def make_secret_block(variable: str, value: str) -> Block:
    """Return the block for what a variable holds (a URL, a key), or for a reference to a variable.

    Raises ConfigurationError if the URL is wrong.
    """
    match = _SOURCE.fullmatch(variable)
    block = DATABASES[SOURCE_KINDS[match["kind"].lower()]].block if match else WAREHOUSE_CONNECTION
    block = MASK_KEY if _MASK_KEY.fullmatch(variable) else block
    return block.make(value, place=variable)


def find_variable(block: Block) -> str | None:
    """Return the variable that a block refers to; None if it holds its URL itself, or has none."""
    url_blocks = (MASK_KEY, WAREHOUSE_CONNECTION, *(database.block for database in DATABASES.values()))
    found = next((url_block for url_block in url_blocks if isinstance(block, url_block.block_type)), None)
    return found.find_variable(block) if found else None


def resolve(block: AnyBlock, environment: Mapping[str, str]) -> AnyBlock:
    """Return the block that a variable describes, if ``block`` refers to a variable; any other block as it is.

    Raises ConfigurationError if the variable is not set, or wrong.
    """
    if isinstance(block, Warehouse):
        block.connector = resolve(block.connector, environment)
        return block
    if (variable := find_variable(block)) is None:
        return block
    if not environment.get(variable):
        raise ConfigurationError(
            f"it refers to the variable {variable}, which is not set here",
            place=f"block {block.get_block_type_slug()}/{block._block_document_name or '(in another)'}",
            remedy="run the deployment, whose tasks have it from Secrets Manager, or set it",
        )
    found = cast("AnyBlock", make_secret_block(variable, environment[variable]))
    found._block_document_id, found._block_document_name = block._block_document_id, block._block_document_name
    return found


def _warehouses(environment: Mapping[str, str]) -> Iterator[tuple[str, Block]]:
    for prefix, connection in warehouse_prefixes(environment).items():
        name, variable = names.warehouse_name(connection), f"{prefix}_URL"
        connector = make_secret_block(variable, environment[variable])
        yield name, connector
        leases = environment.get(f"{prefix}_LEASES", "")
        if leases and leases not in PLACES:
            raise refuse_place(leases, f"{prefix}_LEASES")
        yield name, Warehouse(connector=connector, iam_role=environment.get(f"{prefix}_IAM_ROLE", ""), leases=leases)


def _on_aws(environment: Mapping[str, str]) -> Iterator[tuple[str, Block]]:
    credentials = credentials_of(environment)
    yield names.AWS, credentials
    for name, variable in ((names.LANDING, "LANDING_BUCKET"), (names.PROCESSED, "PROCESSED_BUCKET")):
        yield name, S3Bucket(bucket_name=environment[variable], credentials=credentials)
    for kind, name, variable in sources_of(environment):
        if kind.is_queue:
            yield name, queue_of(environment[variable], credentials, place=variable)
    if topic_arn := environment.get("ALERT_TOPIC_ARN"):
        yield names.ALERTS, topic_of(topic_arn, credentials)


def queue_of(url: str, credentials: AwsCredentials, *, place: str) -> Queue:
    """Return the block of a queue. Raises ConfigurationError, naming ``place``, if the URL is wrong."""
    try:
        return Queue(url=url, credentials=credentials)
    except ValidationError:
        raise ConfigurationError(
            "this is not the URL of a standard queue",
            place=place,
            remedy="write https://host/account/name; a FIFO queue is no source",
        ) from None


def topic_of(topic_arn: str, credentials: AwsCredentials) -> SnsNotification:
    """Return the block of a topic. Raises ConfigurationError if the ARN is wrong."""
    try:
        return SnsNotification(topic_arn=topic_arn, credentials=credentials)
    except ValidationError:
        raise ConfigurationError(
            "this is not the ARN of an SNS topic",
            place="ALERT_TOPIC_ARN",
            remedy="write arn:aws:sns:region:account:name",
        ) from None


def credentials_of(environment: Mapping[str, str]) -> AwsCredentials:
    """Return the block with which AWS is asked."""
    region, endpoint = environment.get("AWS_DEFAULT_REGION"), environment.get("AWS_ENDPOINT_URL")
    if not endpoint:
        # On AWS the task's role signs; keys that were stored here would outlive it and be used in its place.
        return AwsCredentials(region_name=region)
    return AwsCredentials(
        region_name=region,
        aws_access_key_id=environment.get("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=SecretStr(environment.get("AWS_SECRET_ACCESS_KEY", "")),
        aws_client_parameters=AwsClientParameters(endpoint_url=endpoint),
    )
