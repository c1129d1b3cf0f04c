"""A table of a warehouse by its name, and the names of the temporary tables that a load makes for it."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override

from millrace.base.naming import literal, quote
from millrace.warehouse.dialect import Dialect


@dataclass(frozen=True)
class Table:
    """A table of a warehouse."""

    schema: str
    """Name of its schema."""
    name: str
    """Name of the table, without the schema."""
    dialect: Dialect
    """What the SQL of its warehouse is like."""

    @override
    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def quoted(self) -> str:
        """Quoted ``schema.table``."""
        return quote(self.schema, self.name)

    def describe_column(self, column: str) -> str:
        """Return a query for what ``dialect.from_catalog`` needs to know about one column."""
        return (
            "SELECT data_type, character_maximum_length, numeric_precision, numeric_scale "
            f"FROM {self.dialect.catalog} WHERE table_schema = {literal(self.schema)} "
            f"AND table_name = {literal(self.name)} AND column_name = {literal(column)}"
        )


@dataclass(frozen=True)
class TemporaryTables:
    """Names of the temporary tables of one target in a session."""

    number: int = 0
    """Tells apart the temporary tables of targets that are loaded together."""

    @property
    def stage(self) -> str:
        """Name of the table that holds the rows of a batch."""
        return self._name("millrace_stage")

    @property
    def changed_rows(self) -> str:
        """Name of the table that holds the rows that differ from the target."""
        return self._name("millrace_delta")

    @property
    def deleted_keys(self) -> str:
        """Name of the table that holds the keys that are no longer in the source."""
        return self._name("millrace_deletes")

    @property
    def root_keys(self) -> str:
        """Name of the table that holds keys of a model's root whose rows may be deleted."""
        return self._name("millrace_left")

    @property
    def touched_keys(self) -> str:
        """Name of the table that holds the keys whose versions changed, and since when."""
        return self._name("millrace_touched")

    @property
    def moved_versions(self) -> str:
        """Name of the table that holds versions that start at another time than they said."""
        return self._name("millrace_moved")

    @property
    def concerned_keys(self) -> str:
        """Name of the table that holds the keys whose versions are computed again."""
        return self._name("millrace_concerned")

    @property
    def arrived_events(self) -> str:
        """Name of the table that holds the rows of a log that a batch brought."""
        return self._name("millrace_arrived")

    @property
    def computed_versions(self) -> str:
        """Name of the table that holds versions that were computed from events."""
        return self._name("millrace_computed")

    @property
    def vanished_versions(self) -> str:
        """Name of the table that holds rows of the target that are no versions any more."""
        return self._name("millrace_vanished")

    @property
    def rows_to_bind(self) -> str:
        """Name of the table that holds rows that will be bound to another version."""
        return self._name("millrace_bound")

    @property
    def sample(self) -> str:
        """Name of the table that holds keys and hashes that the target is compared with."""
        return self._name("millrace_sample")

    def _name(self, name: str) -> str:
        return f"{name}_{self.number}" if self.number else name
