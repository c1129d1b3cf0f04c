"""The collection's ``$jsonSchema`` validator: installed, and its refusals put into short reasons."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pymongo.errors import OperationFailure

from millrace.base.sql_files import SQL_FILES
from millrace.drivers.mongo_client import mongo_errors

COLLECTION = "trades"
VALIDATOR_PATH = SQL_FILES / "stori" / "trades.validator.json"

_NAMESPACE_EXISTS = 48


async def install_collection(database: Any) -> None:
    """Create the collection with its validator and indexes, or bring an existing one to that state."""
    with mongo_errors(place(database)):
        await _install_validator(database, json.loads(VALIDATOR_PATH.read_text(encoding="utf-8")))
        await database[COLLECTION].create_index("id", unique=True)
        await database[COLLECTION].create_index("updatedAt")


def place(database: Any) -> str:
    """Return the collection's name for messages."""
    return f"mongo {database.name}.{COLLECTION}"


async def _install_validator(database: Any, validator: Mapping[str, Any]) -> None:
    try:
        await database.command("create", COLLECTION, validator=validator)
    except OperationFailure as error:
        if error.code != _NAMESPACE_EXISTS:
            raise
        await database.command("collMod", COLLECTION, validator=validator)


def refusal_reasons(write_error: Mapping[str, Any]) -> list[str]:
    """``path|rule`` for everything a document was refused for (error 121); values of the document are left out."""
    details = write_error.get("errInfo", {}).get("details", {})
    return sorted(set(_reasons(details.get("schemaRulesNotSatisfied", []), ""))) or ["record|validator"]


def _reasons(rules: Sequence[Mapping[str, Any]], path: str) -> Iterator[str]:
    for rule in rules:
        for field in rule.get("propertiesNotSatisfied", []):
            yield from _reasons(field["details"], f"{path}.{field['propertyName']}".lstrip("."))
        for name in rule.get("missingProperties", []):
            yield f"{path}.{name}|required".lstrip(".")
        if not {"propertiesNotSatisfied", "missingProperties"} & rule.keys():
            yield f"{path or 'record'}|{rule.get('operatorName', 'validator')}"
