"""Options that several commands have."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from millrace.cli.command import MOMENT_FORMATS

StreamNames = Annotated[list[str] | None, typer.Option("--stream", "-s", help="Only this stream (repeatable).")]
Full = Annotated[bool, typer.Option("--full", help="Read everything, not only what changed.")]
Start = Annotated[
    datetime | None, typer.Option("--from", formats=MOMENT_FORMATS, help="First moment of a window (inclusive, UTC).")
]
End = Annotated[
    datetime | None, typer.Option("--to", formats=MOMENT_FORMATS, help="Last moment of a window (exclusive, UTC).")
]
AcceptRejects = Annotated[
    bool, typer.Option("--accept-rejects", help="Commit even if more rows were rejected than a stream allows.")
]
AllowDeletes = Annotated[
    bool, typer.Option("--allow-deletes", help="Commit even if more rows would be deleted than a stream allows.")
]
AcceptSource = Annotated[
    bool, typer.Option("--accept-source", help="Read a stream from its new source, and compare that with the target.")
]
