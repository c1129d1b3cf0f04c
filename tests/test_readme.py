"""README.md is true: its example is the pipeline that runs."""

from __future__ import annotations

import re
from pathlib import Path

from millrace import Incremental, Merge, Pipeline, Stream
from millrace.pipelines.stori import pipeline as stori
from millrace.pipelines.stori.contracts import Transaction

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_is_the_pipeline_that_runs() -> None:
    example, with_models = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    compile(with_models, "README.md", "exec")
    names = {"Transaction": Transaction}
    exec(compile(example, "README.md", "exec"), names)  # noqa: S102 (the example is ours)
    assert names["pipeline"] == stori
    assert {type(stori), *map(type, stori.streams)} == {Pipeline, Stream}
    assert all(isinstance(one.capture, Incremental) and isinstance(one.load, Merge) for one in stori.streams)
