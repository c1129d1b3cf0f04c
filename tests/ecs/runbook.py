"""The commands that docs/guides/deploy.md and docs/runbook.md mark as bash, as typed.

They run in this process, which has imported everything already.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from string import Template

from prefect.testing.cli import CycloptsCliRunner
from typer.testing import CliRunner

from infra.deploy import application
from local.stack import Stack

DOCS = Path(__file__).parents[2] / "docs"
TEXT = "\n".join((DOCS / page).read_text(encoding="utf-8") for page in ("guides/deploy.md", "runbook.md"))
COMMANDS = [
    line.partition("  #")[0].strip()
    for block in re.findall(r"^```bash\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
UP = "python -m infra.deploy up --env prod"
RUN_AND_WATCH = "prefect deployment run replicate/stori --watch"
RETRY = 'prefect flow-run retry "$RUN"'
CANCEL = 'prefect flow-run cancel "$RUNNING"'
CHECK = "python -m infra.deploy check --env prod"
OF_THE_CHAIN = {UP, CHECK, RUN_AND_WATCH, RETRY, CANCEL}
"""Those that the fixtures, test_check.py and test_chain.py run."""


def run(stack: Stack, command: str, *, exit_code: int = 0, **variables: str) -> str:
    """What a shell would make of one of them, on this stack instead of production; what was said."""
    assert command in COMMANDS
    words = shlex.split(Template(command).substitute(variables))
    assigned = {name: value for name, _, value in (word.partition("=") for word in words) if name.isupper()}
    program, *arguments = words[len(assigned) :]
    if program == "prefect":
        done = CycloptsCliRunner().invoke(arguments)
    else:
        assert [program, *arguments[:2]] == ["python", "-m", "infra.deploy"]
        local = ["local" if word == "prod" else word for word in arguments[2:]]
        done = CliRunner().invoke(application, local, env=stack.environment() | assigned)
    assert done.exit_code == exit_code, done.output + repr(done.exception)
    return str(done.output)
