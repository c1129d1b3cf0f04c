"""How many rejected rows a run may leave behind: more of them stop it before it commits.

What does not belong here: why a row is rejected (contract/, capture/), and keeping rejected rows (extract.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from millrace.declared import Queue
from millrace.errors import TooManyRejects
from millrace.stream import Stream

FLOOR_ROWS = 10
"""So many are allowed whatever their share is: in a window of few rows one bad row is a large share."""
SHOWN_REASONS = 3
MESSAGES_GO_ON = ", or wait for messages that are right: then these are set aside"


def check_rejects(
    stream: Stream,
    reasons: Counter[tuple[str, str]],
    read: int,
    *,
    is_everything: bool,
    where: str,
    rejected_before: Callable[[], int],
) -> None:
    """Raises TooManyRejects when more of ``read`` rows were rejected than the stream allows, or all of them where the
    read was of everything: then not the rows are wrong but the declaration, or the source as a whole.

    ``reasons`` counts rejected rows by reason and field; ``where`` tells how to see them. Rows that were
    ``rejected_before`` are not counted again: those without a stamp are in every window.
    """
    rejected, allowed = reasons.total(), allowed_rejects(stream, read)
    is_of_messages = isinstance(stream.capture, Queue)
    fix = f"fix {'' if is_of_messages else 'the data, '}the contract or the stream's types"
    if is_everything and rejected and rejected >= read:
        problem = f"all {read:,} rows were rejected"
    elif rejected > allowed:
        before = rejected_before()
        rejected, read = rejected - before, read - before
        allowed = allowed_rejects(stream, read)
        if rejected <= allowed:
            return
        problem = f"{rejected:,} of {read:,} rows were rejected, {allowed:,} are allowed"
        problem += f" ({before:,} others were rejected before)" if before else ""
        fix += ", or allow more (max_rejects, max_reject_share)"
    else:
        return
    described = ", ".join(_described(*why, rows) for why, rows in reasons.most_common(SHOWN_REASONS))
    raise TooManyRejects(
        f"{problem}: {described}",
        place=f"stream {stream.name} ({stream.source})",
        remedy=f"see {where}, then {fix}{MESSAGES_GO_ON if is_of_messages else ''}; to let this batch through once: "
        "--accept-rejects (accept_rejects of the run's parameters)",
    )


def allowed_rejects(stream: Stream, read: int) -> int:
    """Of so many rows; 0 where the stream allows none."""
    if not stream.max_rejects or not stream.max_reject_share:
        return 0
    return min(stream.max_rejects, max(FLOOR_ROWS, int(stream.max_reject_share * read)))


def _described(reason: str, field: str, rows: int) -> str:
    return f"{rows:,} {reason} of {field}" if field else f"{rows:,} {reason}"
