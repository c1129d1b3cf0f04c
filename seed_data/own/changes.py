"""Fifteen kinds of change, each made to the film rental in Postgres and to the record shop in MySQL."""

from __future__ import annotations

from collections.abc import Mapping

from millrace.base.sql_files import SQL_FILES
from millrace.seed_data.stocks.script import split_statements

PAGILA, CHINOOK = "pagila", "chinook"
"""The schema of the film rental, the database of the record shop."""
COMMITTED_LATE = "a row committed after the run that it was written before"
"""The kind of change that begins before the first run: the session that writes it commits later."""

PAGILA_CHANGES: Mapping[str, str] = {
    COMMITTED_LATE: "INSERT INTO film (title) VALUES ('committed late')",
    "a row inserted": "INSERT INTO film (title, rating) VALUES ('new', 'R')",
    "a row updated": "UPDATE film SET title = 'changed', release_year = NULL WHERE film_id = 1",
    "a row updated behind its timestamp": """
        ALTER TABLE film DISABLE TRIGGER film_touch;
        UPDATE film SET replacement_cost = 1 WHERE film_id = 2;
        ALTER TABLE film ENABLE TRIGGER film_touch""",
    "a row deleted": "DELETE FROM film_actor WHERE film_id = 3; DELETE FROM film WHERE film_id = 3",
    "a key changed": "UPDATE film_actor SET actor_id = 1000 WHERE actor_id = 10",
    "a row deleted, and another one inserted under its key": """
        DELETE FROM "Customer" WHERE "CustomerId" = 7;
        INSERT INTO "Customer" ("CustomerId", "Email") VALUES (7, 'another@example.org')""",
    "a row moved to another partition": "UPDATE payment SET paid_on = '2026-12-31' WHERE payment_id = 1",
    "an equal row inserted": "INSERT INTO log_line SELECT * FROM log_line LIMIT 1",
    "one of several equal rows deleted": "DELETE FROM log_line WHERE ctid = (SELECT max(ctid) FROM log_line)",
    "the first row of a table": """
        INSERT INTO waiting VALUES ('00112233-4455-6677-8899-aabbccddeeff', '10.0.0.1/24', '08:00:2b:01:02:03',
            '[2026-01-01 10:00Z, 2026-01-01 11:00Z)', B'10101', true)""",
    "a column added with a default": "ALTER TABLE film ADD COLUMN length int DEFAULT 90",
    "a column dropped": "ALTER TABLE country DROP COLUMN calling_code",
    "a column renamed": 'ALTER TABLE "Customer" RENAME COLUMN "FirstName" TO given_name',
    "a type made wider": """
        ALTER TABLE "Customer" ALTER COLUMN given_name TYPE text;
        ALTER TABLE payment ALTER COLUMN amount TYPE numeric(12, 2);
        UPDATE payment SET amount = 123456789.99 WHERE payment_id = 2""",
}
CHINOOK_CHANGES: Mapping[str, str] = {
    COMMITTED_LATE: "INSERT INTO Artist (Name) VALUES ('committed late')",
    "a row inserted": "INSERT INTO Artist (Name) VALUES ('new')",
    "a row updated": "UPDATE Artist SET Name = NULL WHERE ArtistId = 1",
    "a row updated behind its timestamp": """
        UPDATE Artist SET Name = 'silent', last_update = last_update WHERE ArtistId = 2;
        UPDATE PlaylistTrack SET Position = 0 WHERE TrackId = 20;""",
    "a row deleted": "DELETE FROM Artist WHERE ArtistId = 3",
    "a key changed": "UPDATE PlaylistTrack SET TrackId = 1000 WHERE TrackId = 10",
    "a row deleted, and another one inserted under its key": """
        DELETE FROM InvoiceLine WHERE InvoiceLineId = 7;
        INSERT INTO InvoiceLine (InvoiceLineId, UnitPrice) VALUES (7, 0)""",
    "a row moved to another partition": "UPDATE Invoice SET paid_on = '2026-12-31' WHERE InvoiceId = 1",
    "an equal row inserted": "INSERT INTO Visit SELECT * FROM Visit LIMIT 1",
    "one of several equal rows deleted": "DELETE FROM Visit WHERE page = '/2' LIMIT 1",
    "the first row of a table": "INSERT INTO `order` VALUES (UUID(), 16777215, 'Zoë')",
    "a column added with a default": "ALTER TABLE InvoiceLine ADD COLUMN note varchar(10) DEFAULT 'none'",
    "a column dropped": "ALTER TABLE Store DROP COLUMN opened_on",
    "a column renamed": "ALTER TABLE InvoiceLine RENAME COLUMN kind TO sort",
    "a type made wider": """
        ALTER TABLE Invoice MODIFY COLUMN Total decimal(16, 4);
        UPDATE Invoice SET Total = 123456789012.5 WHERE InvoiceId = 2""",
}


def install_statements(name: str) -> list[str]:
    """Return the statements that make one of the two, with its rows."""
    return split_statements((SQL_FILES / "own" / f"{name}.sql").read_text(encoding="utf-8"))


def change_statements(changes: Mapping[str, str]) -> list[str]:
    """Return the statements of all changes but the one that is committed late."""
    return [
        statement for kind, text in changes.items() if kind != COMMITTED_LATE for statement in split_statements(text)
    ]
