"""Files of SQL that ship with Millrace: the repository's folder ``sql``, installed as ``millrace/sql``."""

from __future__ import annotations

from pathlib import Path

SQL_FILES = Path(__file__).parents[1] / "sql"
