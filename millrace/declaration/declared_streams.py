"""The field ``streams`` of a pipeline, which takes streams and patterns of streams, and gives streams alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema

from millrace.declaration.stream import Stream
from millrace.declaration.streams import Streams


class DeclaredStreams:
    """A field that accepts ``Stream`` and ``Streams``; what reads it gets only ``Stream``.

    The pipeline puts every ``Streams`` into its field ``wildcards`` when it is made.
    """

    _NAME = "streams"

    @overload
    def __get__(self, pipeline: None, kind: type) -> DeclaredStreams: ...

    @overload
    def __get__(self, pipeline: object, kind: type) -> Sequence[Stream]: ...

    def __get__(self, pipeline: object | None, kind: type) -> Sequence[Stream] | DeclaredStreams:
        """Return the streams."""
        if pipeline is None:
            # What a dataclass finds here would be the default of the field.
            raise AttributeError(self._NAME)
        streams: Sequence[Stream] = vars(pipeline)[self._NAME]
        return streams

    def __set__(self, pipeline: object, declared: Sequence[Stream | Streams]) -> None:
        """Set what was declared, or the streams alone."""
        vars(pipeline)[self._NAME] = declared

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let the check of fields expect streams."""
        return handler(Sequence[Stream])
