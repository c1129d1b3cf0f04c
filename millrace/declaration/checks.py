"""Check every field of a declaration against its annotation, when the declaration is made.

The annotation is the whole rule: its type, the choices of a ``Literal``, the bounds of ``Annotated``. No value is
converted: ``"1"`` is not a number and ``"email"`` is not a list of names.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import timedelta
from functools import cache
from reprlib import Repr
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from millrace.base.errors import ConfigurationError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Text = Annotated[str, Field(min_length=1)]
"""A text that is not empty."""
Count = Annotated[int, Field(ge=0)]
"""A whole number, 0 or greater."""
PositiveCount = Annotated[int, Field(ge=1)]
"""A whole number, 1 or greater."""
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""A part of a whole, from 0 to 1."""
Duration = Annotated[timedelta, Field(ge=timedelta(0), le=timedelta(days=36_500))]
"""A length of time from zero to a hundred years: short enough to be subtracted from any date of a source."""
PositiveDuration = Annotated[timedelta, Field(gt=timedelta(0))]
"""A length of time above zero."""
Names = Sequence[Text] | set[Text] | frozenset[Text]
"""Several names. A single text is not accepted, because it would be read as the list of its letters."""

_EXPECTED = {
    "sequence_str": "a list of texts",
    "string_type": "a text",
    "string_too_short": "a text that is not empty",
    "int_type": "a whole number",
    "bool_type": "True or False",
    "dict_type": "a mapping",
    "set_type": "a set of texts",
    "frozen_set_type": "a set of texts",
    "time_delta_type": "a timedelta",
    "timezone_naive": "a datetime without tzinfo (it is UTC)",
}
"""What pydantic expects, by type of error, where its own words do not fit into our sentence."""
_short = Repr()
_short.maxstring = _short.maxother = 80


def check_fields(declaration: DataclassInstance, place: str) -> None:
    """Raise ConfigurationError for the first field with a value that its annotation does not allow."""
    values = {field.name: getattr(declaration, field.name) for field in fields(declaration)}
    try:
        _checker(type(declaration)).validate_python(values)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        name = str(found[0]["loc"][0])
        hint = get_type_hints(type(declaration), include_extras=True)[name]
        problem, remedy = _describe(name, values[name], hint, [detail for detail in found if detail["loc"][0] == name])
        raise ConfigurationError(problem, place=place, remedy=remedy) from None


def check_distinct(names: Iterable[Hashable], what: str, place: str) -> None:
    """Raise ConfigurationError if one of ``names`` is repeated; ``what`` says what they name."""
    seen: set[Hashable] = set()
    for name in names:
        if name in seen:
            raise ConfigurationError(f"{what} {name!r} is declared twice", place=place, remedy="name it once")
        seen.add(name)


@cache
def _checker(declaration: type[DataclassInstance]) -> TypeAdapter[Any]:
    hints = get_type_hints(declaration, include_extras=True)
    items = {field.name: hints[field.name] for field in fields(declaration)}
    typed = TypedDict(declaration.__name__, items)  # type: ignore[misc]  # its keys are known at run time only
    return TypeAdapter(with_config(ConfigDict(strict=True, arbitrary_types_allowed=True))(typed))


def _describe(name: str, value: Any, hint: Any, found: Sequence[Any]) -> tuple[str, str]:
    """Return the problem and the remedy for a field and the errors that pydantic found in it."""
    inner = found[0]["loc"][1:2]
    if isinstance(value, Mapping) and inner and inner[0] in value:
        name, value = f"{name}[{inner[0]!r}]", found[0]["input"]
    if choices := _choices(hint):
        return f"{name} is {_short.repr(value)}", f"choose from {', '.join(map(str, choices))}"
    kinds: list[type] = hint.__subclasses__() if isinstance(hint, type) else []
    if kinds:
        return (
            f"{name} is {_short.repr(value)}",
            f"it must be {_one_of(f'an instance of {kind.__name__}' for kind in kinds)}",
        )
    expected = dict.fromkeys(
        _EXPECTED.get(error["type"]) or error["msg"].removeprefix("Input should be ") for error in found
    )
    return f"{name} is {_short.repr(value)}", f"it must be {_one_of(expected)}"


def _one_of(forms: Iterable[str]) -> str:
    return ", or ".join(forms)


def _choices(hint: Any) -> tuple[Any, ...]:
    """Return the choices of an annotation that is a ``Literal``, else nothing."""
    return get_args(hint) if get_origin(hint) is Literal else ()
