"""The image that tasks run: how it is named, built and pushed to the stack's repository."""

from __future__ import annotations

import base64
import tomllib

from botocore.exceptions import ClientError

from infra.change import Action, StackChange
from infra.cloud_environment import CloudEnvironment
from infra.commands import ROOT, output
from millrace.base.errors import ConfigurationError

KIND = "image"


def version() -> str:
    """Return the version of the product in pyproject.toml."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def commit() -> str:
    """Return the commit of these files, with ``-dirty`` at the end if they differ from it."""
    return output("git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*")


def image_name(cloud: CloudEnvironment, chosen: str | None) -> str:
    """Return the full name of the image: the chosen one, the environment's, or that of the commit.

    ``chosen`` may be a tag alone. Raises ConfigurationError if there is no commit that could name it.
    """
    repository = cloud.outputs["RepositoryUri"]
    if chosen:
        return chosen if ":" in chosen else f"{repository}:{chosen}"
    return cloud.settings.image or f"{repository}:{commit()}"


def apply_image(cloud: CloudEnvironment, image: str, *, dry_run: bool = False) -> list[StackChange]:
    """Build and push the image if it does not exist.

    Raises ConfigurationError if the files are not committed, or if no program that builds images is installed.
    """
    repository, tag = image.rsplit(":", 1)
    if repository != cloud.outputs["RepositoryUri"]:
        return [StackChange(KIND, image, Action.UNCHANGED, "given")]
    if _is_there(cloud, repository, tag):
        return [StackChange(KIND, image, Action.UNCHANGED)]
    _check(tag, dry_run=dry_run)
    if not dry_run:
        _make("image", image, repository)
        _log_in(cloud, output("make", "--silent", "builder"))
        _make("push", image, repository)
    return [StackChange(KIND, image, Action.CREATED, "built and pushed")]


def _is_there(cloud: CloudEnvironment, repository: str, tag: str) -> bool:
    try:
        found = cloud.client("ecr").describe_images(
            repositoryName=repository.partition("/")[2], imageIds=[{"imageTag": tag}]
        )
    except ClientError as error:
        if error.response["Error"]["Code"] == "ImageNotFoundException":
            return False
        raise
    return bool(found["imageDetails"])


def _check(tag: str, *, dry_run: bool) -> None:
    """Raise ConfigurationError unless the image can be built from these files.

    A dry run may be done before a commit.
    """
    if tag.endswith("-dirty") and not dry_run:
        raise ConfigurationError(
            "files are changed and not committed", place="git", remedy="commit first: an image is named by its commit"
        )
    if tag != commit():
        raise ConfigurationError(
            f"there is no image {tag}, and these files are not of that commit",
            place="repository of images",
            remedy="choose a tag that is there, or check that commit out",
        )


def _make(goal: str, image: str, repository: str) -> None:
    output("make", goal, f"MILLRACE_IMAGE={image}", f"REPOSITORY={repository}")


def _log_in(cloud: CloudEnvironment, builder: str) -> None:
    found = cloud.client("ecr").get_authorization_token()["authorizationData"][0]
    user, _, password = base64.b64decode(found["authorizationToken"]).decode().partition(":")
    registry = found["proxyEndpoint"].removeprefix("https://")
    output(builder, "login", "--username", user, "--password-stdin", registry, given=password)
