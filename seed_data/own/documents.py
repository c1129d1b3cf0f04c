"""Six collections of MongoDB without a common shape, and fifteen kinds of change to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from bson import Decimal128, Int64, ObjectId
from pymongo.database import Database

Documents = Database[dict[str, Any]]
DATABASE = "irregular"
_MORNING = datetime(2026, 1, 5, 10, tzinfo=UTC)


def insert_documents(database: Documents) -> None:
    """Fill the six collections, and make an empty one that nobody can know anything about."""
    database["users"].insert_many([_user(number) for number in range(60)])
    database["Accounts"].insert_many(
        [
            {"_id": n, "tiers": {f"{n}-{tier}": {"name": "Gold", "since": _MORNING} for tier in range(9)}}
            for n in range(40)
        ]
    )
    database["orders"].insert_many([_order(number) for number in range(80)])
    database["measures"].insert_many(
        [
            {"_id": Int64(n), "value": n if n % 3 else n + 0.5, "at": {"x": n, "deep": {"y": [n, {"z": n}]}}}
            for n in range(50)
        ]
    )
    database["Old names"].insert_many([_old(number) for number in range(30)])
    database["prices"].insert_many([_price(number) for number in range(30)])
    database.create_collection("nothing")


def _user(number: int) -> dict[str, Any]:
    """Return a document in which fields are there, NULL or absent, by turns."""
    user: dict[str, Any] = {"_id": ObjectId(f"{number:024x}"), "name": f"Zoë {number}"}
    user |= {} if number % 2 else {"email": None if number % 4 else f"{number}@example.org"}
    user |= {} if number % 3 else {"address": {"city": f"city {number}", "lines": ["a", None]}}
    return user


def _account(number: int) -> dict[str, Any]:
    """Return a document with a map, in which names of fields are data."""
    return {"_id": number, "tiers": {f"{number}-{tier}": {"name": "Gold", "since": _MORNING} for tier in range(9)}}


def _measure(number: int) -> dict[str, Any]:
    """Return a document with a number that is now whole, now not, and with documents three levels deep."""
    deep = {"x": number, "deep": {"y": [number, {"z": number}]}}
    return {"_id": Int64(number), "value": number if number % 3 else number + 0.5, "at": deep}


def _price(number: int) -> dict[str, Any]:
    """Return a document whose identifier is a document itself."""
    return {"_id": {"shop": number % 3, "day": f"day {number}"}, "amount": Decimal128(Decimal(number) / 8)}


def _order(number: int) -> dict[str, Any]:
    """Return a document with a time of its last change, and items in a list."""
    return {
        "_id": f"order {number}",
        "updatedAt": _MORNING + timedelta(seconds=number),
        "items": [{"sku": f"s{item}", "count": item} for item in range(number % 4)],
        "total": 1.5 * number,
    }


def _old(number: int) -> dict[str, Any]:
    """Return a document with names that no column of a database has."""
    return {"_id": number, "First Name": f"n{number}", "größe in %": number, "a-b": True, "": "empty", "Tags": []}


def _replace_order(database: Documents) -> None:
    database["orders"].replace_one({"_id": "order 5"}, {"_id": "order 5", "updatedAt": _now(), "gift": True})


def _change_key(database: Documents) -> None:
    database["measures"].delete_one({"_id": 3})
    database["measures"].insert_one({"_id": Int64(1003), "value": 3})


def _delete_and_insert(database: Documents) -> None:
    database["Old names"].delete_one({"_id": 4})
    database["Old names"].insert_one({"_id": 4, "First Name": "another"})


def _now() -> datetime:
    return datetime.now(UTC)


def _update(collection: str, where: Any, *, many: bool = False, **operators: Any) -> Callable[[Documents], object]:
    """Return the change that updates a document, or all that are meant; ``set`` is the operator ``$set``."""
    update = {f"${name}": values for name, values in operators.items()}
    query = where if isinstance(where, dict) else {"_id": where}

    def change(database: Documents) -> object:
        updated = database[collection]
        return updated.update_many(query, update) if many else updated.update_one(query, update)

    return change


CHANGES: Mapping[str, Callable[[Documents], object]] = {
    "a document inserted": lambda database: database["orders"].insert_one(_order(500) | {"updatedAt": _now()}),
    "a document updated": _update("orders", "order 1", set={"total": 0.1}, currentDate={"updatedAt": True}),
    "a document updated behind its timestamp": _update("orders", "order 2", set={"total": 7.5}),
    "a document deleted": lambda database: database["orders"].delete_one({"_id": "order 3"}),
    "a document replaced": _replace_order,
    "a key changed": _change_key,
    "a document deleted, and another one inserted under its key": _delete_and_insert,
    "a field added": _update("users", {"name": {"$lt": "Zoë 2"}}, many=True, set={"age": 40}),
    "a field removed": _update("users", {}, many=True, unset={"address.city": ""}),
    "a field renamed": _update("Old names", {}, many=True, rename={"First Name": "given"}),
    "a field set to null": _update("users", {"name": "Zoë 9"}, set={"name": None}),
    "a nested field added": _update("measures", 5, set={"at.deep.new": "far down"}),
    "an entry of a map added": _update("Accounts", 1, set={"tiers.new": {"name": "Silver"}}),
    "an item of a list added": _update("orders", "order 7", push={"items": "no document"}),
    "a number with more digits": _update("measures", 6, set={"value": 0.1}),
}
"""What happens to the collections, by its name."""
