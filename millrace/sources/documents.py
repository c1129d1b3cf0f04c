"""Documents become columns: flatten, name and type them, and reject each one that a column cannot hold exactly.

Documents are taken apart column by column. Which columns a document fills depends on the document, the declaration and
the target's columns alone, never on other documents, so that its row is the same by every way of reading
(docs/decisions/0015-documents.md). A column's type is, in this order: the stream's declaration, the contract, the
target's column, what the first documents hold; a value of another type is converted only where nothing is lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from itertools import chain
from operator import itemgetter
from typing import Any, Protocol

import dataframely
import polars as pl

from millrace.base.naming import column_name, column_names
from millrace.base.rejects import NAME_TOO_LONG
from millrace.base.types import FLOAT64, TIME_KINDS, Column, DataType, Kind, from_polars, names_by_path, polars_type
from millrace.declaration.captures import SchemaPolicy
from millrace.declaration.width import MAX_COLUMNS, refuse_too_many_columns
from millrace.sources.bson_values import Converters, Unfit

NUL = "\x00"
MAX_PATH_BYTES = 65_535
"""The longest path of a column, as the ledger holds it."""
SHOWN_CHARACTERS = 100
"""How many characters of a longer path a message shows."""


class DeclaredFields(Protocol):
    """What a declaration says of the fields of documents: a stream, or the elements of one of its arrays."""

    @property
    def types(self) -> Mapping[str, DataType]:
        """The declared types, by path."""
        ...

    @property
    def omitted(self) -> Collection[str]:
        """Paths of the fields that are left out."""
        ...

    @property
    def flatten_depth(self) -> int:
        """How many levels of embedded documents become columns."""
        ...

    @property
    def schema_policy(self) -> SchemaPolicy:
        """What new fields may change in the target."""
        ...

    @property
    def contract(self) -> type[dataframely.Schema] | None:
        """The schema that rows must meet."""
        ...

    @property
    def place(self) -> str:
        """How errors name the documents."""
        ...

    @property
    def is_of_documents(self) -> bool:
        """Whether the rows are documents."""
        ...

    def selects(self, path: str, /) -> bool:
        """Return whether a field may be replicated."""
        ...

    def redacts(self, path: str, /) -> bool:
        """Return whether nothing of a field is shown, not even the names of the fields within it."""
        ...


Rejected = dict[int, tuple[str, str]]
"""The rejected documents: index of the document, reason and field."""


class Documents:
    """Takes apart the documents of one read. A path keeps the column that it was given first."""

    def __init__(
        self,
        stream: DeclaredFields,
        target_columns: Sequence[Column],
        type_of: Mapping[type, DataType],
        find_converters: Callable[[DataType], Converters],
        parse_times: Callable[[pl.Series, DataType], pl.Series] | None = None,
    ) -> None:
        """Fields of ``target_columns`` keep the names of the target, and its types unless the contract has others.

        ``type_of`` gives the type of a column by the Python type of its values; ``find_converters`` gives the Python
        types that go into a column, each with its conversion. ``parse_times`` reads times from texts, null where a text
        is no time: for documents that hold times as texts only.
        """
        self._stream, self._type_of, self._find_converters, self._parse_times = (
            stream,
            type_of,
            find_converters,
            parse_times,
        )
        self._contract = of_contract(stream)
        self._types_by_name = {column.name: column.type for column in target_columns} | self._contract
        self._target_types = {column.path: column.type for column in target_columns if column.path}
        self.omitted: frozenset[str] = frozenset()
        self._columns: dict[str, Column] = {}
        self._names = names_by_path(target_columns)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every column that was met so far, always in the same order."""
        return tuple(self._columns.values())

    def declare(self, path: str, data_type: DataType) -> None:
        """Give a path its column before the first document. The type is used where nothing else tells one."""
        self._name([path])
        self._register(path, data_type)

    def frame(self, documents: Sequence[Mapping[str, Any]]) -> tuple[pl.DataFrame, Rejected]:
        """Return a row for each document, with every column that was met so far, and the rejected documents."""
        values: dict[str, list[Any]] = {}
        self._flatten(documents, "", self._stream.flatten_depth, values)
        rejected: Rejected = {}
        for path in [path for path in values if len(path) > MAX_PATH_BYTES // 4]:
            if len(path.encode()) > MAX_PATH_BYTES:
                _reject_all(values.pop(path), f"{path[:SHOWN_CHARACTERS]}…", rejected, NAME_TOO_LONG)
        self._name(values)
        series = [self._series(path, column, rejected) for path, column in values.items()]
        return self._complete([column for column in series if column is not None], len(documents)), rejected

    def _flatten(
        self, documents: Sequence[Mapping[str, Any] | None], prefix: str, depth: int, into: dict[str, list[Any]]
    ) -> None:
        """Fill ``into`` with one list of values per path; embedded documents are flattened ``depth`` levels deep.

        A value that is no document stays at the path itself, beside the columns of the documents at this path.
        """
        for field in dict.fromkeys(chain.from_iterable(document for document in documents if document)):
            path = f"{prefix}{escape_step(field)}"
            if path in self._stream.omitted:
                self.omitted |= {path}
                continue
            if not self._stream.selects(path):
                continue
            values = _values_of(field, documents)
            values = self._without_omitted(path, values)
            if depth and dict in set(map(type, values)) and not self._is_declared_whole(path):
                if self._is_held_whole(path):
                    values = [None if _is_void(value, depth) else value for value in values]
                else:
                    embedded = [value if type(value) is dict else None for value in values]
                    self._flatten(embedded, f"{path}.", depth - 1, into)
                    values = [None if type(value) is dict else value for value in values]
            into[path] = values
            if len(into) % MAX_COLUMNS == 0 and self._stream.schema_policy != "quarantine":
                # Before there are so many that memory does not hold them.
                refuse_too_many_columns(
                    self._stream, [path for path, values in into.items() if values.count(None) < len(values)]
                )

    def _is_declared_whole(self, path: str) -> bool:
        if self._stream.redacts(path):
            return True
        declared = self._find_declared_type(path)
        return declared is not None and declared.kind is Kind.DOCUMENT

    def _is_held_whole(self, path: str) -> bool:
        """Return whether the target has a column of documents at this path, and no column of their fields."""
        target_type = None if self._find_declared_type(path) else self._target_types.get(path)
        is_opened = any(target_path.startswith(f"{path}.") for target_path in self._target_types)
        return target_type is not None and target_type.kind is Kind.DOCUMENT and not is_opened

    def _find_declared_type(self, path: str) -> DataType | None:
        return self._stream.types.get(path) or self._contract.get(column_name(path))

    def _without_omitted(self, path: str, values: list[Any]) -> list[Any]:
        """Leave omitted fields out of documents that stay whole."""
        nested = [omitted_path for omitted_path in self._stream.omitted if omitted_path.startswith(f"{path}.")]
        if not nested:
            return values
        self.omitted |= {
            omitted_path
            for omitted_path in nested
            if omitted_path not in self.omitted
            and any(_prune(value, path, {omitted_path}) != value for value in values)
        }
        return [_prune(value, path, self._stream.omitted) for value in values]

    def _series(self, path: str, values: list[Any], rejected: Rejected) -> pl.Series | None:
        kinds = set(map(type, values)) - {type(None)}
        if path not in self._columns and not self._may_become(path, kinds):
            _reject_all(values, path, rejected)
            return None
        column = self._columns.get(path) or self._register(path, self._infer(values))
        converters = self._find_converters(column.type)
        if any(converters.get(kind, _convert) is not None for kind in kinds):
            values = _convert(values, converters, column, rejected)
        series = self._type_values(values, column, rejected)
        if column.type.kind is Kind.TEXT:
            for index in series.str.contains(NUL, literal=True).fill_null(False).arg_true():
                rejected.setdefault(index, ("nul_character", path))
        return series

    def _may_become(self, path: str, kinds: Set[type]) -> bool:
        """Return whether the type of a column is known: from values of these types, or from elsewhere."""
        is_known = path in self._stream.types or self._names[path] in self._types_by_name
        return bool(kinds & self._type_of.keys()) or (is_known and bool(kinds))

    def _infer(self, values: list[Any]) -> DataType | None:
        """Return the type that most values have; whole numbers among fractions are fractions."""
        counted = Counter(self._type_of[type(value)] for value in values if type(value) in self._type_of)
        if not counted:
            return None
        if {data_type.kind for data_type in counted} == {Kind.INT64, Kind.FLOAT64}:
            return FLOAT64
        return counted.most_common(1)[0][0]

    def _type_values(self, values: list[Any], column: Column, rejected: Rejected) -> pl.Series:
        if self._parse_times is None or column.type.kind not in TIME_KINDS:
            return _make_series(values, column)
        texts = pl.Series(column.name, values, dtype=pl.String)
        series = self._parse_times(texts, column.type)
        for index in (series.is_null() & texts.is_not_null()).arg_true():
            rejected.setdefault(index, ("type_mismatch", column.path))
        return series

    def _name(self, paths: Iterable[str]) -> None:
        """Give columns to new paths. Their names do not depend on the order in which fields appear."""
        self._names |= column_names(paths, self._names)

    def _register(self, path: str, inferred: DataType | None) -> Column:
        name = self._names[path]
        data_type = self._stream.types.get(path) or self._types_by_name.get(name) or inferred or DataType(Kind.DOCUMENT)
        return self._columns.setdefault(path, Column(name, path, data_type))

    def _complete(self, series: Sequence[pl.Series], height: int) -> pl.DataFrame:
        """Return the frame with every column that was met so far, in one order: all files of a read look alike."""
        present = {column.name: column for column in series}
        return pl.DataFrame(
            [
                present.get(column.name, pl.repeat(None, height, dtype=polars_type(column.type), eager=True)).alias(
                    column.name
                )
                for column in self._columns.values()
            ]
        )


def _values_of(field: str, documents: Sequence[Any]) -> list[Any]:
    """Return the value of a field of each document; None if a document lacks it, which is rare."""
    try:
        return list(map(itemgetter(field), documents))
    except (KeyError, TypeError):
        return [document.get(field) if document else None for document in documents]


def of_contract(stream: DeclaredFields) -> dict[str, DataType]:
    """Return the types that the contract names, by column."""
    if stream.contract is None:
        return {}
    return {name: from_polars(column.dtype) for name, column in stream.contract.columns().items()}


def escape_step(field: str) -> str:
    r"""Return the name of a field as a step of a path. A dot in the name is escaped: ``a.b`` becomes ``a\.b``."""
    return field.replace("\\", "\\\\").replace(".", "\\.") if "." in field or "\\" in field else field


def _is_void(value: Any, depth: int) -> bool:
    """Return whether a document would fill no column if it were flattened: then it is NULL in any case."""
    if type(value) is dict:
        return depth > 0 and all(_is_void(member, depth - 1) for member in value.values())
    return value is None


def _prune(value: Any, path: str, omitted: Collection[str]) -> Any:
    """Return the value without omitted fields, also without those of documents in arrays."""
    if type(value) is list:
        return [_prune(element, path, omitted) for element in value]
    if type(value) is not dict:
        return value
    inner = {field: f"{path}.{escape_step(field)}" for field in value}
    return {field: _prune(value[field], inner[field], omitted) for field in value if inner[field] not in omitted}


def _reject_all(values: list[Any], path: str, rejected: Rejected, reason: str = "type_mismatch") -> None:
    """Reject the documents that have a value here: no column can hold it."""
    for index, value in enumerate(values):
        if value is not None:
            rejected.setdefault(index, (reason, path))


def _convert(values: list[Any], converters: Converters, column: Column, rejected: Rejected) -> list[Any]:
    """Return the values in the type of the column. Values that do not fit become None, and their rows are rejected."""
    converted = []
    for index, value in enumerate(values):
        try:
            converter = converters[type(value)] if value is not None else None
            converted.append(converter(value) if converter else value)
        except KeyError:
            rejected.setdefault(index, ("type_mismatch", column.path))
            converted.append(None)
        except Unfit as error:
            rejected.setdefault(index, (error.reason, column.path))
            converted.append(None)
    return converted


def _make_series(values: list[Any], column: Column) -> pl.Series:
    dtype = polars_type(column.type)
    if column.type.kind is Kind.TIMESTAMP_UTC:
        return pl.Series(column.name, values, dtype=pl.Datetime("us")).dt.replace_time_zone("UTC")
    if column.type.kind is Kind.DECIMAL:
        return pl.Series(column.name, values, dtype=pl.String).cast(dtype)
    return pl.Series(column.name, values, dtype=dtype)
