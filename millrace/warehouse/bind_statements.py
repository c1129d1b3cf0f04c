"""The SQL that binds a fact: which version of a dimension is valid at the time of the fact.

It reads only versions of the keys in question, and facts of these keys from the first changed time on, so that the cost
does not grow with either table (docs/decisions/0021-cost-of-a-load.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from millrace.base.naming import DELETED_AT, LOADED_AT, literal, quote, quote_list
from millrace.base.types import Kind
from millrace.declaration.captures import LEAST_UNKNOWN, Bind
from millrace.warehouse.modes.versions import SINCE, moment, moment_literal
from millrace.warehouse.statements import ORDINAL, among, match
from millrace.warehouse.target import Joined, Target

NEVER_A_KEY = LEAST_UNKNOWN - 1
"""Stands for NULL where keys are compared: no surrogate key is negative, and no declared value is this number.

It is not the least BIGINT: without its sign that is a number of 19 digits which overflows on Redshift.
"""
EVERY_KEY = "1 = 1"


@dataclass(frozen=True)
class Binding:
    """One column of a fact that holds the key of a dimension's version, with the SQL that fills it."""

    fact: Target
    """The table of the facts that are bound."""
    bind: Bind
    """The column, the key and the time by which it is bound, and the dimension."""
    dimension: Target
    """The dimension: the table of versions."""

    def make_join(self, number: int) -> Joined:
        """Return the join that gives the value of the column for rows ``d$`` that are inserted."""
        versions = f"v{number}$"
        # A table that is replaced is put in from the stage, of which there may be several forms of a key.
        concerned = (
            EVERY_KEY
            if self.fact.load.replaces_table
            else self._among(self.fact.temporary.changed_rows, self.bind.keys)
        )
        return Joined(
            self.bind.column,
            self._value(versions),
            f"LEFT JOIN ({self._versions(concerned)}) AS {versions} ON {self._is_valid('d$', versions)}",
        )

    def find_touched(self, first: datetime) -> str:
        """Write into a temporary table the facts that a changed version concerns and that are bound to another version.

        ``first`` is the earliest time from which versions changed; with it the server can tell how many facts there may
        be.
        """
        touched = self.dimension.temporary.touched_keys
        keys = quote_list(self.dimension.keys)
        rows = f"SELECT {keys}, min({quote(SINCE)}) AS since$ FROM {quote(touched)} GROUP BY {keys}"
        same = f"{self._same('f', 'c')} AND {self._at('f')} >= c.since$"
        is_not_before = f"{self._not_before('c.since$')} AND {self._not_before(moment_literal(first))}"
        scope = f"({rows}) AS c JOIN {self.fact.quoted} AS f ON {same} AND {is_not_before}"
        return self._find(scope, self._among(touched, self.dimension.keys))

    def find_all(self) -> str:
        """Write into a temporary table all facts that are bound to another version than the valid one."""
        return self._find(f"{self.fact.quoted} AS f", EVERY_KEY)

    def write(self, loaded_at: str, where: str = EVERY_KEY) -> str:
        """Bind the facts that were found and for which ``where`` is true. ``loaded_at`` is the load time as SQL."""
        fact = self.fact
        return (
            f"UPDATE {fact.quoted} SET {quote(self.bind.column)} = b$.version$, {quote(LOADED_AT)} = {loaded_at} "
            f"FROM {quote(fact.temporary.rows_to_bind)} AS b$ WHERE {match(fact.quoted, 'b$', fact.keys)} AND {where}"
        )

    def count_unbound(self) -> str:
        """Count the facts that name a key but are not bound."""
        return f"SELECT count(*) FROM {self.fact.quoted} WHERE {is_unbound(self.bind)}"

    def _find(self, scope: str, concerned: str) -> str:
        fact, value, column = self.fact, self._value("v"), f"f.{quote(self.bind.column)}"
        number = f"row_number() OVER (ORDER BY {quote_list(fact.keys, 'f.')}) AS {quote(ORDINAL)}"
        return (
            f"CREATE TEMPORARY TABLE {quote(fact.temporary.rows_to_bind)} AS "
            f"SELECT {quote_list(fact.keys, 'f.')}, {value} AS version$, {number} "
            f"FROM {scope} LEFT JOIN ({self._versions(concerned)}) AS v ON {self._is_valid('f', 'v')} "
            f"WHERE coalesce({column}, {NEVER_A_KEY}) <> coalesce({value}, {NEVER_A_KEY})"
        )

    def _versions(self, concerned: str) -> str:
        """Return the versions of the ``concerned`` keys, each valid until the next version of its key starts.

        The end that is stored with a version may follow another rule.
        """
        validity = self.dimension.load.validity
        if validity is None:
            raise TypeError("a pipeline refuses such a declaration")
        keys, start = quote_list(self.dimension.keys), quote(validity.start)
        return (
            f"SELECT {keys}, {quote(validity.surrogate)} AS version$, {start} AS starts$, "
            f"lead({start}) OVER (PARTITION BY {keys} ORDER BY {start}) AS next_start$, "
            f"{quote(DELETED_AT)} AT TIME ZONE 'UTC' AS deleted$ FROM {self.dimension.quoted} WHERE {concerned}"
        )

    def _among(self, table: str, columns: Sequence[str]) -> str:
        """Return the condition that a version has one of the keys in these columns of a table."""
        return among(self.dimension.keys, table, self.dimension.quoted, columns)

    def _value(self, versions: str) -> str:
        version = f"{versions}.version$"
        return version if self.bind.unknown is None else f"coalesce({version}, {self.bind.unknown})"

    def _is_valid(self, fact: str, versions: str) -> str:
        at = self._at(fact)
        return (
            f"{self._same(fact, versions)} AND {at} >= {versions}.starts$ "
            f"AND ({versions}.next_start$ IS NULL OR {at} < {versions}.next_start$) "
            f"AND ({versions}.deleted$ IS NULL OR {at} < {versions}.deleted$)"
        )

    def _not_before(self, since: str) -> str:
        """Return the condition that the time of a fact is not before a moment, with a day to spare.

        It compares the column as it is, so that an index or a sort key finds the rows.
        """
        kind, spared = self._kind, f"({since} - INTERVAL '1 day')"
        if kind is Kind.TIMESTAMP_UTC:
            spared = f"{spared} AT TIME ZONE 'UTC'"
        elif self.fact.time_zone:
            spared = f"({spared} AT TIME ZONE 'UTC') AT TIME ZONE {literal(self.fact.time_zone)}"
        return f"f.{quote(self.bind.at)} >= ({spared})" + ("::DATE" if kind is Kind.DATE else "")

    def _at(self, fact: str) -> str:
        return moment(f"{fact}.{quote(self.bind.at)}", self._kind, self.fact.time_zone)

    @property
    def _kind(self) -> Kind:
        return next(column.type.kind for column in self.fact.derivation.columns if column.name == self.bind.at)

    def _same(self, fact: str, other: str) -> str:
        pairs = zip(self.bind.keys, self.dimension.keys, strict=True)
        return " AND ".join(f"{fact}.{quote(column)} = {other}.{quote(key)}" for column, key in pairs)


def is_unbound(bind: Bind) -> str:
    """Return the condition that a fact names a key but is not bound."""
    column = quote(bind.column)
    is_empty = f"{column} IS NULL" if bind.unknown is None else f"{column} = {bind.unknown}"
    return " AND ".join([is_empty, *(f"{quote(key)} IS NOT NULL" for key in bind.keys)])


def bindings_of(fact: Target, models: Mapping[str, Target]) -> list[Binding]:
    """Return all bindings of a fact."""
    return [Binding(fact, bind, models[bind.dimension]) for bind in fact.relations.binds]
