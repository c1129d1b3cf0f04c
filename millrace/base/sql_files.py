"""The folder of SQL files that ship with Millrace: ``sql`` in the repository, installed as ``millrace/sql``."""

from __future__ import annotations

from pathlib import Path

SQL_FILES = Path(__file__).parents[1] / "sql"
