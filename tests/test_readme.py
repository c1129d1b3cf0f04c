"""The README is true: its commands exist, its table of variables is the code's, its example is the pipeline."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from millrace import Incremental, Merge, Pipeline, Stream
from millrace.blocks.environment import VARIABLES
from millrace.pipelines.stori import pipeline as stori
from millrace.pipelines.stori.contracts import Transaction

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_variables_is_the_code_s() -> None:
    table = [f"| `{one.name}` | {one.meaning} | {one.required} |" for one in VARIABLES]
    assert [line for line in README.splitlines() if re.match(r"\| `[A-Z_]+` \|", line)] == table


def test_the_example_is_the_pipeline_that_runs() -> None:
    example, with_models = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    compile(with_models, "README.md", "exec")
    names = {"Transaction": Transaction}
    exec(compile(example, "README.md", "exec"), names)  # noqa: S102 (the example is ours)
    assert names["pipeline"] == stori
    assert {type(stori), *map(type, stori.streams)} == {Pipeline, Stream}
    assert all(isinstance(one.capture, Incremental) and isinstance(one.load, Merge) for one in stori.streams)


@pytest.mark.parametrize("target", ["demo", "demo-totesys", "demo-stocks", "test", "up", "lint", "test-redshift"])
def test_the_make_targets_exist(target: str) -> None:
    assert f"make {target}" in README
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", re.findall(r"\]\((docs/[^)#]*)\)", README))
def test_the_pages_it_points_to_exist(path: str) -> None:
    assert (ROOT / path).exists()
