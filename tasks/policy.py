"""How every task behaves: no caching, retries of retryable errors, no traceback of errors of Millrace.

Tasks are not cached because all have side effects. An error of Millrace says itself what is wrong.
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


def is_retryable(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    """Return whether the next try may succeed."""
    return isinstance(state.data, RetryableError)


def artifact_key(*parts: str) -> str:
    """Return the key of an artifact: lower-case letters, digits and dashes, as Prefect requires."""
    return _NOT_IN_KEYS.sub("-", "-".join(parts).lower()).strip("-")


TASK_OPTIONS: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": is_retryable,
}
"""Options of ``@task`` for every task."""
