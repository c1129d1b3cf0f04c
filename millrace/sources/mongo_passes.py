"""Find keys by a pass over all documents of a collection. The answer of a look-up by key is checked with it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import bson
from bson import Decimal128

from millrace.sources.chunk import Keys
from millrace.sources.mongo_queries import bson_forms
from millrace.sources.mongo_values import OPTIONS

_NOWHERE: frozenset[int] = frozenset()


class WantedKeys:
    """Compares documents with keys in every form in which a look-up asks for them.

    ``seen`` holds, for each document that has a key, the indexes of its keys.
    """

    def __init__(self, paths: Sequence[str], keys: Keys) -> None:
        self._paths = [path.split(".") for path in paths]
        self._indexes: list[dict[Hashable, set[int]]] = [{} for _ in paths]
        self.seen: list[set[int]] = []
        for index, row in enumerate(keys.rows):
            for by_value, value in zip(self._indexes, row, strict=True):
                for form in bson_forms(value):
                    by_value.setdefault(_comparable(form), set()).add(index)

    def compare(self, documents: Sequence[Mapping[str, Any]]) -> None:
        """Add the keys that these documents have to ``seen``."""
        for document in documents:
            matches = [
                by_value.get(_comparable(_value_at(document, path)), _NOWHERE)
                for path, by_value in zip(self._paths, self._indexes, strict=True)
            ]
            if has := set.intersection(*map(set, matches)):
                self.seen.append(has)


def _value_at(document: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = document
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _comparable(value: Any) -> Hashable:
    """Return a value that is equal for two values exactly if MongoDB takes them for equal.

    Numbers are equal by their value, all others by type and bytes.
    """
    if isinstance(value, int | float | Decimal128) and not isinstance(value, bool):
        number = value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)
        return ("number", number if number.is_finite() else str(number))
    return bson.encode({"": value}, codec_options=OPTIONS)
