"""Flows that take a Pipeline, or the name of one, where Prefect takes small parameters.

A value that a program gives runs in its process. A deployment runs in another process, so there the pipeline becomes
``file.py:attribute`` or ``package.module:attribute``.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Literal, overload

from prefect import Flow, State
from typing_extensions import override

from millrace import Pipeline
from millrace.declaration.find import find_pipeline, is_file, is_path, split_path
from millrace.declaration.values import name_by_file, name_by_module, register_value
from millrace.flows.parameters import allow_pipeline
from millrace.flows.request import ReplicateRequest
from millrace.tasks.report import RunReport

_REQUEST, _PIPELINE = "request", "pipeline"
Parameters = Mapping[str, Any] | None
Request = ReplicateRequest | Pipeline | str | None


# Prefect's three methods take some twenty options; only ``parameters`` is looked at here, the others are handed on.
class PipelineFlow(Flow[..., Coroutine[Any, Any, RunReport]]):
    """The flow `replicate`.

    ``replicate(pipeline)``, ``replicate("shop.py", mode="sweep")`` and ``replicate(ReplicateRequest(...))`` run it in
    this process. In the parameters of ``serve``, ``deploy`` and ``to_deployment`` the pipeline may be a Pipeline too:
    ``parameters={"request": {"pipeline": pipeline}}``.
    """

    @overload  # type: ignore[override] # fewer options than in Prefect are named
    def __call__(
        self, request: Request = None, *, return_state: Literal[True], wait_for: Any = None, **fields: Any
    ) -> Coroutine[Any, Any, State[RunReport]]: ...

    @overload
    def __call__(
        self, request: Request = None, *, return_state: Literal[False] = False, wait_for: Any = None, **fields: Any
    ) -> Coroutine[Any, Any, RunReport]: ...

    @override
    def __call__(
        self, request: Request = None, *, return_state: bool = False, wait_for: Any = None, **fields: Any
    ) -> Coroutine[Any, Any, Any]:
        """Run the flow here and return its report; ``fields`` are those of ReplicateRequest.

        Raises pydantic's ValidationError for wrong fields, ConfigurationError for a pipeline that cannot be found.
        """
        options: dict[str, Any] = {"wait_for": wait_for} | ({"return_state": True} if return_state else {})
        run: Coroutine[Any, Any, Any] = super().__call__(_as_request(request, fields), **options)
        return run

    @override
    def serve(self, name: str | None = None, *, parameters: Parameters = None, **options: Any) -> None:  # type: ignore[override] # fewer options than in Prefect are named
        """Serve runs of the flow from this process, as Prefect's ``Flow.serve`` does.

        The file or module that the parameters name may run, because this program chose it.
        """
        super().serve(name, parameters=_name_pipeline(parameters, _name_and_allow), **options)

    @override
    def to_deployment(self, name: str, *, parameters: Parameters = None, **options: Any) -> Any:  # type: ignore[override] # fewer options than in Prefect are named
        return super().to_deployment(name, parameters=_name_pipeline(parameters, _by_module), **options)

    @override
    async def ato_deployment(self, name: str, *, parameters: Parameters = None, **options: Any) -> Any:  # type: ignore[override] # fewer options than in Prefect are named
        return await super().ato_deployment(name, parameters=_name_pipeline(parameters, _by_module), **options)


def _as_request(given: Request, fields: Mapping[str, Any]) -> ReplicateRequest:
    if isinstance(given, Pipeline):
        return ReplicateRequest(pipeline=register_value(given), **fields)
    if isinstance(given, str):
        return ReplicateRequest(pipeline=register_value(find_pipeline(given)) if is_path(given) else given, **fields)
    return ReplicateRequest(**{**(given.model_dump(exclude_unset=True) if given else {}), **fields})


def _name_pipeline(parameters: Parameters, name: Callable[[Pipeline | str], str]) -> dict[str, Any] | None:
    """Return the parameters with the pipeline's name in the place of the pipeline."""
    if not parameters or not isinstance(parameters.get(_REQUEST), Mapping):
        return None if parameters is None else dict(parameters)
    request = dict(parameters[_REQUEST])
    if _PIPELINE in request:
        request[_PIPELINE] = name(request[_PIPELINE])
    return {**parameters, _REQUEST: request}


def _by_module(pipeline: Pipeline | str) -> str:
    return name_by_module(pipeline) if isinstance(pipeline, Pipeline) else pipeline


def _name_and_allow(pipeline: Pipeline | str) -> str:
    name = name_by_file(pipeline) if isinstance(pipeline, Pipeline) else _absolute(pipeline)
    if is_path(name):
        allow_pipeline(name)
    return name


def _absolute(name: str) -> str:
    target, attribute = split_path(name)
    return f"{Path(target).resolve()}:{attribute}" if is_path(name) and is_file(target) else name
