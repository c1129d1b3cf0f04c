"""Find the collections of a MongoDB database by a sample of their documents, for `millrace init`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Set
from typing import Any

from millrace.base.types import BSON
from millrace.sources.found import FoundColumn, FoundTable
from millrace.sources.object_ids import DOCUMENT_KEY

SAMPLE_DOCUMENTS = 500
"""How many documents of each collection are looked at, unless more are asked for."""


ELEMENTS = 20
"""How many elements of an array are looked at."""


async def find_collections(database: Any, sample_documents: int, unsampled: Collection[str] = ()) -> list[FoundTable]:
    """Return the collections of a database, in the order of their names; ``unsampled`` ones without their fields.

    ``database`` is Motor's.
    """
    names = [name for name in await database.list_collection_names() if not name.startswith("system.")]
    return [
        FoundTable(database.name, name, "collection", ())
        if name in unsampled
        else await _collection(database, name, sample_documents)
        for name in sorted(names)
    ]


async def _collection(database: Any, name: str, sample_documents: int) -> FoundTable:
    collection = database[name]
    steps = [{"$sample": {"size": sample_documents}}, {"$project": {"fields": {"$objectToArray": "$$ROOT"}}}]
    typed = [
        *steps,
        {"$unwind": "$fields"},
        {
            "$project": {
                "name": "$fields.k",
                "type": {"$type": "$fields.v"},
                "inner": {
                    "$cond": [
                        {"$eq": [{"$type": "$fields.v"}, "object"]},
                        {"$map": {"input": {"$objectToArray": "$fields.v"}, "in": "$$this.k"}},
                        [],
                    ]
                },
                "elements": {
                    "$cond": [
                        {"$eq": [{"$type": "$fields.v"}, "array"]},
                        {"$map": {"input": {"$slice": ["$fields.v", ELEMENTS]}, "in": {"$type": "$$this"}}},
                        [],
                    ]
                },
            }
        },
    ]
    types: dict[str, Counter[str]] = defaultdict(Counter)
    inner: dict[str, set[str]] = defaultdict(set)
    elements: dict[str, set[str]] = defaultdict(set)
    async for field in collection.aggregate(typed):
        types[field["name"]][field["type"]] += 1
        inner[field["name"]].update(field["inner"])
        elements[field["name"]].update(field["elements"])
    return FoundTable(
        database.name,
        name,
        "collection",
        tuple(
            _field(field, types[field], len(inner[field]), elements[field]) for field in sorted(types) if types[field]
        ),
        primary_key=_key(types[DOCUMENT_KEY], inner[DOCUMENT_KEY]),
        rows=await collection.estimated_document_count(),
    )


def _key(types: Mapping[str, int], fields: Iterable[str]) -> tuple[str, ...]:
    """Return the paths that identify a document: its ``_id``, or the fields of an ``_id`` that is a document itself."""
    if set(types) != {"object"}:
        return (DOCUMENT_KEY,)
    return tuple(f"{DOCUMENT_KEY}.{field}" for field in sorted(fields))


def _field(name: str, types: Mapping[str, int], fields: int, elements: Set[str]) -> FoundColumn:
    met = [kind for kind, _ in sorted(types.items(), key=lambda item: (-item[1], item[0])) if kind != "null"]
    return FoundColumn(
        name,
        " or ".join(met) or "null",
        BSON.get(met[0]) if met else None,
        has_documents=met == ["array"] and elements == {"object"},
        fields=fields,
    )
