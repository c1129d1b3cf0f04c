"""What an image tells of itself, as JSON: run by the Python inside it, fed through standard input."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import pkgutil
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

PACKAGES = ("millrace",)
COMPILED = (*PACKAGES, "prefect", "polars")
ABSENT = ("tests", "local", "infra", "bench", "flows", "tasks", "blocks", "cli", "pipelines", "seed_data", "sql")
"""Import names that belong to others: one name is installed."""
SECRET_NAMES = {".git", ".env", ".netrc", ".pypirc", ".aws", ".npmrc", ".ssh", ".docker", "id_rsa", "pip.conf"}
NOT_FILES = {"/proc", "/sys", "/dev"}
"""Where the kernel answers."""


def _paths() -> Iterator[Path]:
    for directory, below, files in os.walk("/"):
        below[:] = [name for name in below if str(Path(directory, name)) not in NOT_FILES]
        yield from (Path(directory, name) for name in (*below, *files))


def _modules() -> Iterator[str]:
    for name in PACKAGES:
        package = importlib.import_module(name)
        yield name
        yield from (found.name for found in pkgutil.walk_packages(package.__path__, f"{name}."))


def _imported() -> list[str]:
    """Every module of ours, each really imported."""
    names = sorted(_modules())
    for name in names:
        importlib.import_module(name)
    return names


def _is_compiled(source: Path) -> bool:
    """Whether Python takes the bytecode: it has the source's time in its header."""
    compiled = Path(importlib.util.cache_from_source(str(source)))
    return compiled.exists() and compiled.read_bytes()[8:12] == int(source.stat().st_mtime).to_bytes(4, "little")


def _uncompiled(site_packages: Path) -> list[str]:
    sources = (path for name in COMPILED for path in (site_packages / name).rglob("*.py"))
    return [str(path) for path in sources if not _is_compiled(path)]


def main() -> None:
    """Print what holds."""
    modules = _imported()
    site_packages = Path(sys.modules["millrace"].__file__ or "").parents[1]
    told = {
        "user": os.getuid(),
        "modules": modules,
        "foreign": [name for name in ABSENT if importlib.util.find_spec(name)],
        "distributions": sorted({one.name.lower().replace("_", "-").replace(".", "-") for one in distributions()}),
        "test_data": [str(path) for path in site_packages.rglob("tests")]
        + [str(path) for name in PACKAGES for path in (site_packages / name).rglob("samples")],
        "suspicious": [str(path) for path in _paths() if path.name in SECRET_NAMES],
        "uncompiled": _uncompiled(site_packages),
        "writable": {
            name: os.access(path, os.W_OK)
            for name, path in (("code", site_packages), ("home", Path.home()), ("root", Path("/")))
        },
        "environment": dict(os.environ),
    }
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
