"""Positions in the change stream of a MongoDB database: a resume token, and the cluster time that it stands for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bson import Timestamp, json_util
from pymongo.errors import OperationFailure
from typing_extensions import override

_DATA, _TIMESTAMP_MARK, _TIME_DIGITS = "_data", "82", 16
TOKEN_CODES = frozenset({9, 136, 260, 280, 286, 40576, 40585, 40647, 40649, 50811})
"""What a server answers to a token that it cannot go on from: it is not understood, its events are no longer kept, it
ends with the end of a database, or it was not found."""
NOT_RESUMABLE = "NonResumableChangeStreamError"


@dataclass(frozen=True)
class MongoPosition:
    """A place in a change stream."""

    token: Mapping[str, Any]
    """The resume token: the stream goes on after it. Only the server understands it."""
    time: Timestamp
    """All changes that the cluster committed up to here lie before it."""

    @classmethod
    def parse(cls, text: str) -> MongoPosition:
        """Return the position that ``str`` gave. Raises ValueError when the text is none."""
        try:
            stored = json.loads(text)
            seconds, ordinal = stored["time"]
            return cls(json_util.loads(json.dumps(stored["token"])), Timestamp(seconds, ordinal))
        except (KeyError, TypeError) as error:
            raise ValueError("no position in a change stream") from error

    @override
    def __str__(self) -> str:
        token = json.loads(json_util.dumps(self.token))
        return json.dumps({"time": [self.time.time, self.time.inc], "token": token})


def read_token_time(token: Mapping[str, Any]) -> Timestamp | None:
    """Return the cluster time in a resume token of MongoDB; None: this server makes its tokens in another form.

    A router answers an empty batch also while it waits for one of its shards: the token tells how far it has come.
    """
    data = token.get(_DATA)
    if not isinstance(data, str) or not data.startswith(_TIMESTAMP_MARK):
        return None
    digits = data[len(_TIMESTAMP_MARK) :][:_TIME_DIGITS]
    try:
        return Timestamp(int(digits[:8], 16), int(digits[8:], 16))
    except ValueError:
        return None


def is_token_refused(error: OperationFailure) -> bool:
    """Return whether a server refused to go on from a token. It will refuse it for ever."""
    return error.code in TOKEN_CODES or error.has_error_label(NOT_RESUMABLE)
