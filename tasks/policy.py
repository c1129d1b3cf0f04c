"""How every task of ours behaves: no caching, because all have side effects; retries for what passes by itself.

What does not belong here: the tasks.
"""

from __future__ import annotations

from typing import Any

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from millrace.errors import RetryableError


def passes_by_itself(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether a failure may be gone at the next try."""
    return isinstance(state.data, RetryableError)


STEP: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": passes_by_itself,
}
"""Options of ``@task``."""
