"""The base job templates of work pools: ``python -m infra.pool_template TYPE`` prints one, for ``prefect work-pool``.

All of them take the same job variables, ``image``, ``cpu`` and ``memory``, so that the deployments of prefect.yaml run
in a pool of any type. On ECS they name what Terraform, CDK or CloudFormation made: ``--outputs`` and ``--secrets``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infra import work_pool
from millrace.base.errors import ConfigurationError, MillraceError

FILES = Path(__file__).with_name("pools")
PUSH = "ecs:push"
TYPES = ("ecs", PUSH, "kubernetes", "docker", "process")


def pool_template(
    pool_type: str, outputs: Mapping[str, str] | None = None, secrets: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the base job template of a type of pool.

    ``outputs`` and ``secrets`` are as ``work_pool.fill_template`` takes them, for ``ecs`` and ``ecs:push`` alone.
    Raises ConfigurationError that names what is missing in them.
    """
    if pool_type.startswith("ecs"):
        return work_pool.fill_template(outputs or {}, secrets or {})
    read: dict[str, Any] = json.loads((FILES / f"{pool_type}.json").read_text(encoding="utf-8"))
    return read


def read_outputs(path: Path) -> dict[str, str]:
    """Return outputs by name, from a file as CloudFormation's plain pairs, ``terraform output -json`` or CDK write it.

    An output with several values, such as subnets, becomes one text with commas.
    """
    return dict(_flat(_read(path)))


def _flat(node: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in node.items():
        if isinstance(value, dict) and "value" not in value:
            found += _flat(value)
            continue
        plain = value["value"] if isinstance(value, dict) else value
        found.append((name, ",".join(map(str, plain)) if isinstance(plain, list) else str(plain)))
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"it cannot be read ({type(error).__name__})", place=str(path), remedy="name a file of JSON that is there"
        ) from None
    if not isinstance(read, dict):
        raise ConfigurationError("it is no object of names and values", place=str(path), remedy='write {"name": "…"}')
    return read


def main() -> int:
    """Print the template, or on standard error what is missing."""
    parser = argparse.ArgumentParser(prog="python -m infra.pool_template", description=__doc__)
    parser.add_argument("type", choices=TYPES)
    parser.add_argument("--outputs", type=Path, help="a JSON file: names and ids of what was made on AWS")
    parser.add_argument("--secrets", type=Path, help="a JSON file: ARNs of secrets by variable (docs/settings.md)")
    said = parser.parse_args()
    try:
        outputs = read_outputs(said.outputs) if said.outputs else {}
        template = pool_template(said.type, outputs, _read(said.secrets) if said.secrets else {})
    except MillraceError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(json.dumps(template, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
