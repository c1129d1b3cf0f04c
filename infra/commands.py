"""Other programs that a deployment calls: git, make, the builder of images, `prefect deploy`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from millrace.base.errors import FatalError
from millrace.base.redact import redact

ROOT = Path(__file__).parents[1]
LINES_TOLD = 20


def output(*command: str, given: str | None = None, variables: Mapping[str, str] | None = None) -> str:
    """Standard output of a program in the repository's directory. ``given`` is its standard input, ``variables`` are
    beside those of this process. Raises FatalError with the end of what it said if it fails."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | (variables or {}),
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-LINES_TOLD:])
        raise FatalError(
            redact(said) or f"it ended with {done.returncode}",
            place=" ".join(command[:2]),
            remedy="mend that, then run it again: it goes on from what is there",
        )
    return done.stdout.strip()
