"""The twelve lines of the README for one's own table, on servers of this machine; and the recipes are declarations."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import millrace
from local.prefect_server import PrefectServer
from local.stack import Stack
from millrace import Pipeline, Stream, Streams

ROOT = Path(__file__).parents[2]
TABLES = (
    "CREATE TABLE orders (id int PRIMARY KEY, amount numeric(8, 2), updated_at timestamptz DEFAULT now()); "
    "CREATE TABLE lines (line text); INSERT INTO orders VALUES (1, 5), (2, 6); INSERT INTO lines VALUES ('a'), ('a')"
)


def test_the_twelve_lines_of_the_readme(
    prefect_server: PrefectServer, environment: dict[str, str], stack: Stack, tmp_path: Path
) -> None:
    text = (ROOT / "README.md").read_text()
    (block,) = re.findall(r"## Your first own table\n\n```bash\n(.*?)```", text, re.DOTALL)
    lines = block.splitlines()
    assert len(lines) == 12
    source = environment["SOURCE_POSTGRES_URL"]
    name = source.rpartition("/")[2]
    stack.postgres.execute(f"SET ROLE {name}; {TABLES}", database=name)
    given = environment | {
        "SOURCE_POSTGRES_SHOP_URL": source,
        "PREFECT_API_URL": prefect_server.api_url,
        "PREFECT_HOME": str(prefect_server.home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    exported = [line for line in lines if line.startswith("export ")]
    assert {assigned.partition("=")[0] for line in exported for assigned in line.split()[1:]} <= given.keys()
    script = "\n".join(line for line in lines if line not in exported and not line.startswith("make "))
    done = subprocess.run(
        ["bash", "-euc", script], cwd=tmp_path, env=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = [
        stack.postgres.execute(f"SELECT count(*) FROM shop.{table}", database=stack.warehouse.database)
        for table in ("orders", "lines")
    ]
    assert found == [[(2,)], [(2,)]]


def test_the_recipes_are_declarations() -> None:
    page = (ROOT / "docs" / "guides" / "recipes.md").read_text()
    streams: list[Stream | Streams] = []
    names = {name: getattr(millrace, name) for name in millrace.__all__}
    collected = {
        "Stream": lambda *a, **k: streams.append(Stream(*a, **k)),
        "Streams": lambda *a, **k: streams.append(Streams(*a, **k)),
    }
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "recipes.md", "exec"), names | collected)  # noqa: S102
    assert len(streams) == 13
    Pipeline("recipes", streams)
