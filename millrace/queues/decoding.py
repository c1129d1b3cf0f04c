"""Messages become rows: each message is one JSON object, or is rejected with the reason why it is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import polars as pl

from millrace.base.naming import MESSAGE_ADDRESS, ROW_ID, column_name
from millrace.base.rejects import REASON_SEPARATOR, REJECT_SCHEMA
from millrace.base.types import UNKNOWN_PATH, Column, polars_type
from millrace.declaration.stream import Stream
from millrace.sources.chunk import Chunk
from millrace.sources.documents import Documents, of_contract
from millrace.sources.json_numbers import loads
from millrace.sources.json_values import TYPE_OF, find_converters, parse_times


class MessageDecoder:
    """Decodes the messages of one read."""

    def __init__(self, stream: Stream, target_columns: Sequence[Column]) -> None:
        self._documents = Documents(stream, target_columns, TYPE_OF, find_converters, parse_times)
        self._contract = of_contract(stream)
        self._keys = [column_name(key) for key in stream.keys]

    def decode(self, messages: pl.DataFrame) -> Chunk:
        """Decode messages, with the columns MESSAGE_ADDRESS (where a message lies) and ``body``, into rows and rejects.

        Messages of one key are one row that was sent twice: the key is their row id.
        """
        parsed = [_parse(body) for body in messages["body"]]
        documents = [document if isinstance(document, dict) else {} for document in parsed]
        frame, reasons = self._documents.frame(documents)
        frame = messages.select(MESSAGE_ADDRESS).hstack(frame.get_columns())
        columns = self._columns()
        missing = [column for column in columns if column.name not in frame.columns]
        frame = frame.with_columns(
            pl.lit(None, dtype=polars_type(column.type)).alias(column.name) for column in missing
        )
        absent = [key for key in self._keys if key not in frame.columns]
        frame = frame.with_columns(pl.lit(None, dtype=pl.String).alias(key) for key in absent)
        frame = frame.with_columns(self._row_id())
        rejected = reasons | {
            index: (document, "") for index, document in enumerate(parsed) if isinstance(document, str)
        }
        if not rejected:
            return Chunk(frame, columns, omitted=self._documents.omitted)
        keep = pl.Series([index not in rejected for index in range(len(parsed))], dtype=pl.Boolean)
        return Chunk(frame.filter(keep), columns, _rejects(messages, rejected), self._documents.omitted)

    def _columns(self) -> tuple[Column, ...]:
        """Return the columns, first those of the contract, whether or not a message had them."""
        met = {column.name: column for column in self._documents.columns}
        named = [met.pop(name, Column(name, UNKNOWN_PATH, data_type)) for name, data_type in self._contract.items()]
        return (*named, *met.values())

    def _row_id(self) -> pl.Expr:
        return pl.concat_str([pl.col(key).cast(pl.String) for key in self._keys], separator=REASON_SEPARATOR).alias(
            ROW_ID
        )


def _parse(body: str) -> dict[str, Any] | str:
    """Return the object that a message holds, or the reason why it holds none."""
    try:
        value = loads(body)
    except ValueError:
        return "not_json"
    return value if isinstance(value, dict) else "not_an_object"


def _rejects(messages: pl.DataFrame, rejected: dict[int, tuple[str, str]]) -> pl.DataFrame:
    rows = [
        {
            "reason": reason,
            "field": field,
            "coordinates": orjson.dumps({MESSAGE_ADDRESS: messages[MESSAGE_ADDRESS][index]}).decode(),
            "row": orjson.dumps({"body": messages["body"][index]}).decode(),
        }
        for index, (reason, field) in sorted(rejected.items())
    ]
    return pl.DataFrame(rows, schema=dict(REJECT_SCHEMA))
