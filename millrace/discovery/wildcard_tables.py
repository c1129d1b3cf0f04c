"""The tables of a catalog that one wildcard names: which get a stream, and what is told of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from millrace.base.errors import ConfigurationError, SchemaConflict
from millrace.base.escaping import escape_unprintable
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.source_kinds import SourceReference
from millrace.declaration.stream import Stream
from millrace.declaration.streams import Streams
from millrace.discovery.choose_tables import find_unused, names_nothing
from millrace.discovery.propose import name_source, name_stream, propose_stream
from millrace.discovery.resolution import Resolution
from millrace.discovery.table_choice import (
    EXCLUDE_OR_DECLARE,
    TableChoice,
    choose_as_recorded,
    choose_for_table,
    describe_key,
)
from millrace.discovery.taken_names import TakenNames
from millrace.sources.found import FoundTable
from millrace.warehouse.ledger.recorded_streams import RecordedStream


@dataclass
class WildcardTables:
    """A wildcard, and the tables of its catalog."""

    pipeline: Pipeline
    wildcard: Streams
    tables: Sequence[FoundTable]
    recorded: Sequence[RecordedStream]
    names: TakenNames
    resolution: Resolution

    def resolve(self) -> None:
        """Add what the wildcard stands for to the resolution."""
        covered = [table for table in self.tables if self.wildcard.covers(self._reference(table))]
        if error := self._find_unknown_column(covered):
            self.resolution.errors[str(self.wildcard)] = error
            self.resolution.records += self._own_rows
            return
        refused: dict[str, list[str]] = {}
        new: list[str] = []
        for table in covered:
            row = self._row_of(table)
            if reason := self._add(table, row, new):
                refused.setdefault(reason, []).append(table.name)
                self.resolution.records += [row] if row else []
        gone = [row for row in self._own_rows if row.source not in {self._source(table) for table in self.tables}]
        self.resolution.records += gone
        self._tell_refused(refused)
        self._tell_gone(gone, is_renamed=bool(new and self._own_rows))
        self._tell_unused()
        if not covered:
            self.resolution.errors[str(self.wildcard)] = names_nothing(self._place, self.tables)
        elif new and self._own_rows and self.wildcard.schema_policy == "freeze":
            self.resolution.errors[str(self.wildcard)] = self._refuse_new(new)

    def _add(self, table: FoundTable, row: RecordedStream | None, new: list[str]) -> str:
        """Add the stream of a table, of which ``row`` was recorded; return why there is none, or ''."""
        source = self._source(table)
        if source in self.names.by_source:
            return ""
        name = f"{self.wildcard.prefix}{name_stream(table.name)}"
        proposed = propose_stream(self.wildcard.reference, table, name)
        reason = self.names.explain(name, source)
        if reason:
            return f"{reason}: {EXCLUDE_OR_DECLARE} with another name"
        # The stream of a table that was replicated before fails by itself, and says what is wrong with it.
        if proposed.refused_because and row is None:
            return proposed.refused_because
        try:
            if row is not None and not table.columns:
                choice = choose_as_recorded(self.wildcard, row)
            else:
                choice = choose_for_table(self.wildcard, table, proposed, row)
            stream = choice.make_stream()
        except ConfigurationError as error:
            return f"{error.problem}: {error.remedy}"
        if row is None:
            new.append(table.name)
            if self._own_rows and self.wildcard.schema_policy != "evolve":
                return "" if self.wildcard.schema_policy == "freeze" else self._left_out
        self._keep(stream, choice, is_new=row is None)
        return ""

    def _keep(self, stream: Stream, choice: TableChoice, *, is_new: bool) -> None:
        self.names.take(stream.name, stream.source)
        self.resolution.streams.append(stream)
        self.resolution.records.append(choice.record)
        reasons = list(choice.proposed.notes)
        if choice.suggests:
            reasons.append(f"chosen when the table was found; the catalog suggests {choice.suggests} now")
        self.resolution.reasons[stream.name] = reasons
        if is_new:
            read_by = f"key {describe_key(stream.keys)}, {type(stream.capture).__name__}"
            cursor = f" by {stream.capture.stamp}" if stream.capture.stamp else ""
            personal = [note for note in choice.proposed.notes if note.startswith("looks personal")]
            self._tell(
                "; ".join(
                    [f"new: {self._describe_table(stream.reference)} as {stream.name}, {read_by}{cursor}", *personal]
                )
            )

    def _find_unknown_column(self, covered: Sequence[FoundTable]) -> ConfigurationError | None:
        """Return the error of a declared column that no table has: what was to be hidden might be replicated."""
        if self.wildcard.reference.kind.is_of_documents or not covered:
            return None
        columns = {column.name for table in covered for column in table.columns}
        columns |= {name for row in self._own_rows for name in row.choice["applied"]}
        declared = {"mask": self.wildcard.mask, "omitted": self.wildcard.omitted, "types": self.wildcard.types}
        for option, names in declared.items():
            for name in sorted(set(names) - columns):
                return ConfigurationError(
                    f"{option} names {name!r}, and none of its tables has such a column",
                    place=self._place,
                    remedy="correct the name, or take it out",
                )
        return None

    def _tell(self, line: str) -> None:
        self.resolution.told.append(f"{self.wildcard}: {line}")

    def _tell_refused(self, refused: Mapping[str, Sequence[str]]) -> None:
        for reason, names in refused.items():
            self._tell(f"not replicated: {', '.join(map(escape_unprintable, names))} ({reason})")

    def _tell_gone(self, gone: Sequence[RecordedStream], *, is_renamed: bool) -> None:
        for row in gone:
            shown = self._describe_table(SourceReference.parse(row.source))
            target = f"{self.pipeline.target_schema}.{row.stream}"
            self._tell(
                f"gone: {shown}, or this user does not see it any more; its target {target} stays as it is. Exclude it "
                "to hear no more of it"
            )
        if gone and is_renamed:
            self._tell("a renamed table is gone by its old name, and new by the other")

    def _tell_unused(self) -> None:
        for option, patterns in (("include", self.wildcard.include), ("exclude", self.wildcard.exclude)):
            for pattern in find_unused(self.wildcard.reference, self.tables, sorted(patterns)):
                if not any(row.source.endswith(f".{pattern}") for row in self.recorded):
                    self._tell(f"{option} {pattern} names no table")

    def _refuse_new(self, new: Sequence[str]) -> SchemaConflict:
        is_one = len(new) == 1
        return SchemaConflict(
            f"{'table' if is_one else 'tables'} {', '.join(new)} {'is' if is_one else 'are'} new since the last run",
            place=self._place,
            remedy="the schema policy is freeze: exclude what is not wanted, declare a Stream, or run once with "
            "schema_policy='evolve'",
        )

    @property
    def _left_out(self) -> str:
        return "new, and the schema policy is quarantine: exclude it, declare a Stream, or run once with 'evolve'"

    @property
    def _place(self) -> str:
        return f"pipeline {self.pipeline.name}, {self.wildcard.place}"

    @property
    def _own_rows(self) -> list[RecordedStream]:
        """What was recorded for this wildcard; nothing before its first run."""
        return [
            row
            for row in self.recorded
            if row.wildcard == str(self.wildcard) and self.wildcard.covers(SourceReference.parse(row.source))
            if row.source not in {stream.source for stream in self.pipeline.streams}
        ]

    def _row_of(self, table: FoundTable) -> RecordedStream | None:
        source = self._source(table)
        return next((row for row in self.recorded if row.source == source), None)

    def _source(self, table: FoundTable) -> str:
        return name_source(self.wildcard.reference, table)

    def _reference(self, table: FoundTable) -> SourceReference:
        return replace(self.wildcard.reference, name=table.name)

    def _describe_table(self, reference: SourceReference) -> str:
        return escape_unprintable(f"{reference.schema}.{reference.name}")
