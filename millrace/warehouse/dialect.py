"""The differences of Redshift and Postgres as warehouses, declared as capabilities.

Sources of the rules: the AWS developer guide's pages on COPY from columnar formats, VARCHAR, SUPER limits and ALTER
TABLE.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from millrace.base.errors import ConfigurationError
from millrace.base.types import MAX_PRECISION, POSTGRES, REDSHIFT, DataType, Kind, decimal, warehouse_type
from millrace.contract.limits import Limits

MINIMUM_TEXT_BYTES = 256
SHORTEST_STAGED_BYTES = 32
GIGABYTE = 1024**3
EIGHT_BYTE_DIGITS = 19
"""Redshift keeps a decimal of up to 19 digits in eight bytes, which 19 nines overflow."""

REDSHIFT_COLUMNS = """(
    SELECT n.nspname AS table_schema, c.relname AS table_name, a.attname AS column_name,
        format_type(a.atttypid, NULL) AS data_type, a.attnum AS ordinal_position,
        CASE WHEN a.atttypmod > 4 THEN a.atttypmod - 4 END AS character_maximum_length,
        CASE WHEN a.atttypmod > 4 THEN (a.atttypmod - 4) / 65536 END AS numeric_precision,
        CASE WHEN a.atttypmod > 4 THEN mod(a.atttypmod - 4, 65536) END AS numeric_scale
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'v')
) AS columns"""
"""Redshift's columns from its own catalog: svv_columns and information_schema tell no length of a VARBYTE, and
svv_columns also asks the catalogs of external schemas, which takes seconds."""


@dataclass(frozen=True)
class Dialect:
    """The SQL and the types of one kind of warehouse."""

    name: str
    """Its name for people: ``redshift`` or ``postgres``."""
    type_names: Mapping[Kind, str]
    """The name of its type for each kind of value."""
    limits: Limits
    """The longest and largest values that it holds."""
    copies_from_lake: bool
    """Whether it loads rows by COPY from S3; otherwise they are sent through the connection."""
    measures_text: bool
    """Whether VARCHAR has a length in bytes that is widened as needed; otherwise text is unlimited."""
    alters_types: bool
    """Whether the type of a column is changed in place; otherwise a wider column replaces the old one."""
    drops_not_null: bool
    """Whether NOT NULL can be removed from a column."""
    catalog: str
    """The system view that lists columns."""
    clock: str
    """The expression of the server's time in UTC, as a TIMESTAMP."""
    number_of_hex: str
    """The expression that converts up to 15 hexadecimal digits to a BIGINT; ``{}`` stands for the digits."""
    view_binding: str = ""
    """The end of the definition of a view, with which the columns that it reads can still be widened."""
    sorting: str = ""
    """The end of the definition of a table that is sorted by a column; ``{}`` stands for the column."""
    distribution: str = ""
    """The clause that distributes the rows of a table by a column; ``{}`` is its name. '': rows are not distributed."""
    has_indexes: bool = False
    """Whether tables have indexes."""
    analyzes: bool = False
    """Whether the server must be told to analyze a new temporary table."""
    ignores_trailing_blanks: bool = False
    """Whether texts are equal that differ in trailing blanks only."""
    can_parse: str = ""
    """The condition that a staged document can be parsed; ``{}`` stands for the document. '': every document can."""
    staged: Mapping[Kind, tuple[str, str]] = field(default_factory=dict)
    """Kinds that are staged as another type, each with that type and the SQL that converts a staged value back."""
    compared: Mapping[Kind, str] = field(default_factory=dict)
    """Kinds that are compared in another form, and the SQL that gives this form."""

    def target_type(self, data_type: DataType, longest_bytes: int) -> str:
        """Return the type of a new column: wide enough for its declared type and for the longest value."""
        return warehouse_type(dict(self.type_names), self.add_length(data_type, longest_bytes))

    def stage_type(self, data_type: DataType, longest_bytes: int) -> str:
        """Return the type in the stage: nearly as narrow as the batch allows, because a stage is read into memory.

        There are few lengths, so that statements repeat: Redshift compiles a new one, which takes seconds.
        """
        template = self.staged[data_type.kind][0] if data_type.kind in self.staged else self.type_names[data_type.kind]
        limit = self.limits.text_bytes if data_type.kind is Kind.TEXT else self.limits.binary_bytes
        length = min(max(_next_power_of_two(longest_bytes), SHORTEST_STAGED_BYTES), limit)
        return template.format(**vars(data_type) | {"length": length})

    def unstage(self, data_type: DataType, quoted: str) -> str:
        """Return the expression that converts a staged value to the type of its column."""
        if data_type.kind not in self.staged:
            return quoted
        return self.staged[data_type.kind][1].format(quoted)

    def unlike(self, data_type: DataType, stored: str, arriving: str) -> str:
        """Return the condition that two values of a type are not the same.

        ``<>`` does not see blanks at the end of a text or the sign of a zero: these have conditions of their own.
        """
        form = self.compared.get(data_type.kind, "{}")
        stored_form, arriving_form = form.format(stored), form.format(arriving)
        conditions = [f"{stored_form} <> {arriving_form}", f"{stored} IS NULL AND {arriving} IS NOT NULL"]
        conditions.append(f"{stored} IS NOT NULL AND {arriving} IS NULL")
        if data_type.kind is Kind.TEXT:
            conditions.append(f"octet_length({stored}) <> octet_length({arriving})")
        if data_type.kind in {Kind.FLOAT32, Kind.FLOAT64}:
            conditions.append(f"{stored}::VARCHAR <> {arriving}::VARCHAR")
        return " OR ".join(conditions)

    def column_type(
        self, type_name: str, length: int | None, precision: int | None, scale: int | None
    ) -> DataType | None:
        """Return the logical type of a column as the catalog lists it; None: Millrace never makes such a column.

        A decimal that overflows at its precision is returned with the number of digits that it holds.
        """
        found = from_catalog(type_name, length, precision, scale)
        if found is None or found == self.limits.widen(found) or found.precision == found.scale:
            return found
        return replace(found, precision=self.limits.overflowing_digits - 1)

    def add_length(self, data_type: DataType, longest_bytes: int) -> DataType:
        """Return the type with a length in bytes, if this warehouse measures lengths."""
        data_type = self.limits.widen(data_type)
        if not self.measures_text or data_type.kind not in {Kind.TEXT, Kind.BINARY}:
            return data_type
        limit = self.limits.text_bytes if data_type.kind is Kind.TEXT else self.limits.binary_bytes
        declared = data_type.length or MINIMUM_TEXT_BYTES
        length = declared if longest_bytes <= declared else _next_power_of_two(longest_bytes)
        return DataType(data_type.kind, length=min(length, limit))


def _next_power_of_two(number: int) -> int:
    return 1 << max(number - 1, 0).bit_length()


REDSHIFT_DIALECT = Dialect(
    name="redshift",
    type_names=REDSHIFT,
    limits=Limits(
        text_bytes=65_535,
        binary_bytes=16_777_216,
        document_bytes=16_000_000,
        document_text_bytes=65_535,
        overflowing_digits=EIGHT_BYTE_DIGITS,
    ),
    copies_from_lake=True,
    measures_text=True,
    alters_types=False,
    drops_not_null=False,
    catalog=REDSHIFT_COLUMNS,
    clock="GETDATE()",
    number_of_hex="strtol({}, 16)",
    view_binding=" WITH NO SCHEMA BINDING",
    sorting=" SORTKEY ({})",
    distribution=" DISTKEY ({})",
    ignores_trailing_blanks=True,
    can_parse="CAN_JSON_PARSE({})",
    staged={Kind.DOCUMENT: ("VARBYTE({length})", "JSON_PARSE({})"), Kind.TIME: ("VARCHAR(21)", "{}::TIME")},
    compared={Kind.DOCUMENT: "JSON_SERIALIZE_TO_VARBYTE({})"},
)

POSTGRES_DIALECT = Dialect(
    name="postgres",
    type_names=POSTGRES,
    limits=Limits(
        text_bytes=GIGABYTE // 4,
        binary_bytes=GIGABYTE // 4,
        document_bytes=GIGABYTE // 4,
        document_text_bytes=GIGABYTE // 4,
        document_levels=5_000,
        document_digits=16_383,
        document_exponent=16_383,
    ),
    copies_from_lake=False,
    measures_text=False,
    alters_types=True,
    drops_not_null=True,
    has_indexes=True,
    analyzes=True,
    catalog="information_schema.columns",
    clock="(clock_timestamp() AT TIME ZONE 'UTC')",
    number_of_hex="('x0' || {})::bit(64)::bigint",
)

_BY_DRIVER = {"redshift": REDSHIFT_DIALECT, "postgresql": POSTGRES_DIALECT}


def dialect_for(driver: str) -> Dialect:
    """Return the dialect of a driver, such as ``redshift+psycopg2``.

    Raises ConfigurationError for a driver of neither warehouse.
    """
    found = _BY_DRIVER.get(driver.partition("+")[0])
    if found is None:
        raise ConfigurationError(
            f"{driver!r} is no warehouse", remedy="use redshift+psycopg2:// or postgresql+psycopg2:// in WAREHOUSE_URL"
        )
    return found


_CATALOG_KINDS: Mapping[str, Kind] = {
    "boolean": Kind.BOOLEAN, "smallint": Kind.INT16, "integer": Kind.INT32, "bigint": Kind.INT64,
    "real": Kind.FLOAT32, "double precision": Kind.FLOAT64, "numeric": Kind.DECIMAL,
    "character varying": Kind.TEXT, "text": Kind.TEXT, "date": Kind.DATE, "time without time zone": Kind.TIME,
    "timestamp without time zone": Kind.TIMESTAMP, "timestamp with time zone": Kind.TIMESTAMP_UTC,
    "binary varying": Kind.BINARY, "varbyte": Kind.BINARY, "bytea": Kind.BINARY,
    "super": Kind.DOCUMENT, "jsonb": Kind.DOCUMENT,
}  # fmt: skip


def from_catalog(type_name: str, length: int | None, precision: int | None, scale: int | None) -> DataType | None:
    """Return the logical type of a column as the catalog lists it; None for a type that Millrace never makes."""
    kind = _CATALOG_KINDS.get(type_name.lower())
    if kind is None:
        return None
    if kind is Kind.DECIMAL:
        return decimal(precision or MAX_PRECISION, scale or 0)
    return DataType(kind, length=length if kind in {Kind.TEXT, Kind.BINARY} else None)
