"""Change an object that others change as well, by what its last version says (compare-and-set)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from millrace.base.errors import Conflict
from millrace.lake.store import ChangingObjects, ObjectVersion

ATTEMPTS = 20
"""How often a change is tried while others change the object: one of them succeeds each time."""

MakeContent = Callable[[ObjectVersion | None], Mapping[str, Any] | None]
"""Returns the fields of the object that takes the place of a version (None: of no object); None: it stays."""


def change_object(objects: ChangingObjects, key: str, make_content: MakeContent, place: str) -> None:
    """Replace an object by what ``make_content`` makes of its last version.

    If somebody else replaces it meanwhile, ``make_content`` is called again. So what it asks of a server is never
    older than what the version before was made of. Raises Conflict, which names ``place``, if others change the object
    all the time.
    """
    for _ in range(ATTEMPTS):
        found = objects.find_version(key)
        fields = make_content(found)
        if fields is None:
            return
        # The version of an object is a digest of its content: without a random part an earlier version would come back.
        content = orjson.dumps({**fields, "write": secrets.token_hex(8)})
        if objects.replace_version(key, content, found.version if found else None):
            return
    raise Conflict(
        f"the object {key} changes all the time", place=place, remedy="see how many runs and commands change it"
    )
