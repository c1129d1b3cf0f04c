"""docs/reference.md is what its script writes, and every field has a meaning there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import millrace

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "reference.md").read_text()


def test_it_is_what_the_script_writes() -> None:
    written = runpy.run_path(str(ROOT / ".ci" / "reference.py"))["write_reference"]()
    assert written == PAGE, "python .ci/reference.py"


def test_every_name_that_is_imported_is_there() -> None:
    assert [name for name in millrace.__all__ if not re.search(rf"^##+ {name}$|^- `{name}\b", PAGE, re.MULTILINE)] == []


def test_every_field_has_a_meaning() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert len(rows) > 80
    assert [row for row in rows if row.endswith("|  |")] == []
