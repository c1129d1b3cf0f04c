"""How every task of ours behaves: no caching, because all have side effects; retries for what passes by itself; no
traceback of an error that says itself what is wrong.
"""

from __future__ import annotations

import re
from typing import Any

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from millrace.base.errors import RetryableError
from millrace.tasks.failures import log_known_errors_without_traceback

_NOT_IN_KEYS = re.compile(r"[^a-z0-9]+")

log_known_errors_without_traceback()


def passes_by_itself(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether a failure may be gone at the next try."""
    return isinstance(state.data, RetryableError)


def artifact_key(*parts: str) -> str:
    """Of lower-case letters, digits and dashes, as Prefect wants them."""
    return _NOT_IN_KEYS.sub("-", "-".join(parts).lower()).strip("-")


STEP: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": passes_by_itself,
}
"""Options of ``@task``."""
