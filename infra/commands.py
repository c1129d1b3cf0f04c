"""Run other programs for a deployment: git, make, the builder of images, `prefect deploy`."""

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
    """Run a program in the repository's directory and return its standard output.

    ``given`` is its standard input; ``variables`` are added to the environment of this process. Raises FatalError with
    the end of its output if the program fails.
    """
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
            remedy="fix that, then run the command again: it continues from what exists",
        )
    return done.stdout.strip()
