"""The steps that a history of a change log may take; each returns what it did, in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from random import Random

import psycopg2

from millrace.runs.choose import Mode
from millrace.seed_data.transfers import TABLES
from tests.log_histories.log_history import LogHistory
from tests.log_histories.log_source import ACCOUNTS, NOTE
from tests.support.engine import PUBLICATION
from tests.torture.crash import MANNERS

LogStep = Callable[[LogHistory, Random], str]
NOTHING = "-"
SLOTS = "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"
MOST_ROWS = 14
MODES: tuple[Mode, ...] = ("sweep", "sweep", "full", "reload")


def write(history: LogHistory, dice: Random) -> str:
    """A writer goes on by some statements of its transaction."""
    return NOTHING if history.setting.is_concurrent else history.source.write(dice, dice.randrange(1, 5))


def edit(history: LogHistory, dice: Random) -> str:
    """A transaction: two keys swapped, a long value, a row that leaves, a row that comes, all rows written again."""
    kinds = (_write_notes, _rewrite, _undo)
    if not history.setting.is_concurrent:
        # Writers of a sum expect each account in each table.
        kinds += (_swap_keys, _emigrate, _immigrate)
    edits = dice.choice(kinds)(history, dice)
    if dice.random() < 0.3:
        edits.insert(0, "SET LOCAL synchronous_commit = off")
    return f"{edits[-1][:60]} {_told(history.source.run(*edits))}"


def _table(history: LogHistory, dice: Random) -> str:
    return history.source.name(dice.choice(TABLES))


def _any_row(table: str, dice: Random) -> str:
    return f"(SELECT id FROM {table} ORDER BY md5(id::text || '{dice.random()}') LIMIT 1)"


def _swap_keys(history: LogHistory, dice: Random) -> list[str]:
    table, far = _table(history, dice), 1000
    one, other = dice.sample(range(1, 4 * ACCOUNTS), 2)
    return [
        f"UPDATE {table} SET id = {far} WHERE id = {one}",
        f"UPDATE {table} SET id = {one} WHERE id = {other}",
        f"UPDATE {table} SET id = {other} WHERE id = {far}",
    ]


def _write_notes(history: LogHistory, dice: Random) -> list[str]:
    table = _table(history, dice)
    note = dice.choice((NOTE.format(dice.random()), "NULL", "'short'"))
    return [f"UPDATE {table} SET note = {note} WHERE id = {_any_row(table, dice)}"]


def _emigrate(history: LogHistory, dice: Random) -> list[str]:
    giver, taker = (history.source.name(table) for table in dice.sample(TABLES, 2))
    return [
        f"WITH gone AS (DELETE FROM {giver} WHERE id = {_any_row(giver, dice)} AND EXISTS (SELECT FROM {taker}) "
        f"RETURNING amount) UPDATE {taker} SET amount = amount + (SELECT sum(amount) FROM gone) "
        f"WHERE id = {_any_row(taker, dice)} AND EXISTS (SELECT FROM gone)"
    ]


def _immigrate(history: LogHistory, dice: Random) -> list[str]:
    table = _table(history, dice)
    key = dice.randrange(1, 5 * ACCOUNTS)
    return [
        f"INSERT INTO {table} SELECT {key}, 0, {NOTE.format(key)} WHERE (SELECT count(*) FROM {table}) < {MOST_ROWS} "
        "ON CONFLICT DO NOTHING"
    ]


def _rewrite(history: LogHistory, dice: Random) -> list[str]:
    """Empty a table, or a partition, and fill it again in other places."""
    table = _table(history, dice)
    emptied = f"{history.source.name(TABLES[1])}_{dice.randrange(4)}" if dice.random() < 0.5 else table
    parent = history.source.name(TABLES[1]) if emptied != table else table
    word = dice.choice(("TRUNCATE", "TRUNCATE", "DELETE FROM"))
    return [
        f"LOCK TABLE {parent} IN EXCLUSIVE MODE",
        f"CREATE TEMPORARY TABLE kept ON COMMIT DROP AS SELECT * FROM {emptied}",
        f"{word} {emptied}",
        f"INSERT INTO {parent} SELECT * FROM kept",
    ]


def _undo(history: LogHistory, dice: Random) -> list[str]:
    """Rolled back in part: nothing changes, or a note does."""
    table = _table(history, dice)
    return [
        "SAVEPOINT s", f"UPDATE {table} SET amount = amount + 1", f"DELETE FROM {table}", "ROLLBACK TO s",
        f"SAVEPOINT t; UPDATE {table} SET note = 'undone' WHERE id = {_any_row(table, dice)}; RELEASE t",
    ]  # fmt: skip


def change_table(history: LogHistory, dice: Random) -> str:
    """What the log does not tell."""
    if history.setting.is_concurrent:
        return NOTHING
    table, number = _table(history, dice), history.source.fresh_number()
    change = dice.choice((_add_column, _detach, _detach, _split, _retype, _vacuum))
    return change(history, dice, table, number)


def _add_column(history: LogHistory, dice: Random, table: str, number: int) -> str:
    if number > 12:
        return NOTHING
    return "column " + _told(history.source.run(f"ALTER TABLE {table} ADD COLUMN extra_{number} int DEFAULT {number}"))


def _detach(history: LogHistory, dice: Random, table: str, number: int) -> str:
    """A partition leaves, with or without its rows, is changed and comes back."""
    parent = history.source.name(TABLES[1])
    place = dice.randrange(4)
    part = f"{parent}_{place}"
    bounds = f"FOR VALUES FROM ({place * ACCOUNTS + 1}) TO ({(place + 1) * ACCOUNTS + 1})"
    statements = [
        f"ALTER TABLE {parent} DETACH PARTITION {part}",
        f"UPDATE {part} SET note = 'apart {number}'",
        f"ALTER TABLE {parent} ATTACH PARTITION {part} {bounds}",
    ]
    if dice.random() < 0.5:
        # In the default partition for a while, and back in another file.
        statements[1:2] = [
            f"INSERT INTO {parent} SELECT * FROM {part}",
            f"TRUNCATE {part}",
            f"INSERT INTO {part} SELECT * FROM {parent}_default WHERE id BETWEEN {place * ACCOUNTS + 1} AND "
            f"{(place + 1) * ACCOUNTS}",
            f"DELETE FROM {parent}_default WHERE id BETWEEN {place * ACCOUNTS + 1} AND {(place + 1) * ACCOUNTS}",
        ]
    return f"partition {place} " + _told(history.source.run(*statements))


def _split(history: LogHistory, dice: Random, table: str, number: int) -> str:
    """Two transactions: the rows of a partition move into the default one, and its empty table leaves and returns."""
    parent, place = history.source.name(TABLES[1]), dice.randrange(4)
    part, low, high = f"{parent}_{place}", place * ACCOUNTS + 1, (place + 1) * ACCOUNTS
    out = history.source.run(
        f"ALTER TABLE {parent} DETACH PARTITION {part}",
        f"INSERT INTO {parent} SELECT * FROM {part}",
        f"DELETE FROM {part}",
    )
    if not out:
        return "refused"
    told = history.run(may_fail=True) if dice.random() < 0.5 else "at once"
    history.source.write_all_out()
    back = history.source.run(
        f"WITH gone AS (DELETE FROM {parent}_default WHERE id BETWEEN {low} AND {high} RETURNING *) "
        f"INSERT INTO {part} SELECT * FROM gone",
        f"ALTER TABLE {parent} ATTACH PARTITION {part} FOR VALUES FROM ({low}) TO ({high + 1})",
    )
    assert back, "nobody else has a transaction"
    return f"partition {place} left, {told}, and returned"


def _retype(history: LogHistory, dice: Random, table: str, number: int) -> str:
    return "type " + _told(history.source.run(f"ALTER TABLE {table} ALTER note TYPE varchar({5000 + number})"))


def _vacuum(history: LogHistory, dice: Random, table: str, number: int) -> str:
    history.source.write_all_out()
    history.server.execute(f"VACUUM FULL {table}")
    return "vacuum"


def run(history: LogHistory, dice: Random) -> str:
    """A run of both streams."""
    return history.run()


def run_one(history: LogHistory, dice: Random) -> str:
    """A run of one stream; the other one stays behind."""
    return history.run(sides=[dice.randrange(2)])


def run_as_asked(history: LogHistory, dice: Random) -> str:
    """A run that a person asked for."""
    return history.run(mode=dice.choice(MODES))


def run_while_written(history: LogHistory, dice: Random) -> str:
    """A run, between whose steps others write."""
    if history.setting.is_concurrent:
        return history.run()
    left = [dice.randrange(1, 6)]

    def meanwhile() -> None:
        if left[0] and dice.random() < 0.15:
            left[0] -= 1
            if dice.random() < 0.5:
                edit(history, dice)
            else:
                history.source.write(dice, dice.randrange(1, 5))

    def trouble() -> None:
        history.trap.meanwhile = meanwhile

    return history.run(trouble=trouble)


def crash(history: LogHistory, dice: Random) -> str:
    """A run that ends at any of its steps, then one that does not."""
    step, manner = dice.randrange(1, history.longest_run + 1), dice.choice(MANNERS)
    first = history.run(trouble=lambda: history.trap.arm(step, manner), may_fail=True)
    struck = history.trap.struck
    return f"{manner} at {step} ({struck}): {first}, {history.run() if dice.random() < 0.5 else '-'}"


def kill_server(history: LogHistory, dice: Random) -> str:
    """The source dies, before a run or at any of its steps."""
    if history.setting.is_concurrent:
        history.stop_writers()
    if dice.random() < 0.4:
        history.server.kill()
        history.calm()
        told = "before a run"
    else:
        left = [dice.randrange(1, history.longest_run)]

        def meanwhile() -> None:
            left[0] -= 1
            if left[0] == 0:
                history.server.kill()

        def trouble() -> None:
            history.trap.meanwhile = meanwhile

        told = history.run(trouble=trouble, may_fail=True)
    history.start_writers()
    return f"{told}, {history.run()}"


def lose_slot(history: LogHistory, dice: Random) -> str:
    """The slot is dropped, moved, created again, or given up by the server."""
    found = history.server.execute(SLOTS)
    if not found:
        return NOTHING
    name, how = found[0][0], dice.choice(("dropped", "moved", "again", "invalid"))
    if how in {"dropped", "again"}:
        history.server.execute(f"SELECT pg_drop_replication_slot('{name}')")
    if how == "moved":
        with suppress(psycopg2.errors.ObjectNotInPrerequisiteState):  # It was given up already.
            history.server.execute(f"SELECT pg_replication_slot_advance('{name}', pg_current_wal_lsn())")
    if how == "again":
        history.stop_writers()
        history.server.execute(f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')")
    if how == "invalid":
        _invalidate(history)
    history.start_writers()
    return f"{name} {how}"


def _invalidate(history: LogHistory) -> None:
    history.server.set(max_slot_wal_keep_size="1MB")
    for _ in range(3):
        history.server.execute("SELECT pg_switch_wal()")
        history.server.execute("SELECT pg_logical_emit_message(false, 'fill', repeat('x', 1000000))")
    history.server.execute("CHECKPOINT")
    history.server.set(max_slot_wal_keep_size="")


def lose_publication(history: LogHistory, dice: Random) -> str:
    """The publication goes and comes, with changes in between, and perhaps a run."""
    how = dice.choice(("dropped", "table", "operations"))
    table = history.source.name(dice.choice(TABLES))
    away, back = {
        "dropped": (f"DROP PUBLICATION {PUBLICATION}", ""),
        "table": (f"ALTER PUBLICATION {PUBLICATION} DROP TABLE {table}",
                  f"ALTER PUBLICATION {PUBLICATION} ADD TABLE {table} (id)"),
        "operations": (f"ALTER PUBLICATION {PUBLICATION} SET (publish = 'insert')",
                       f"ALTER PUBLICATION {PUBLICATION} SET (publish = 'insert, update, delete, truncate')"),
    }[how]  # fmt: skip
    history.server.execute(away)
    changed = edit(history, dice) if dice.random() < 0.7 else NOTHING
    told = history.run(refuses=True) if dice.random() < 0.3 else NOTHING
    if back:
        history.server.execute(back)
    else:
        history.source.publish()
    return f"{how}: {changed}, {told}"


def fill_log(history: LogHistory, dice: Random) -> str:
    """Others write to the database."""
    history.server.execute("SELECT pg_logical_emit_message(true, 'fill', repeat('x', 400000))")
    return ""


def checkpoint(history: LogHistory, dice: Random) -> str:
    """The server may free the log that no slot keeps, forgets less in a crash, and knows how large its tables are."""
    history.source.run(*(f"ANALYZE {history.source.name(table)}" for table in TABLES))
    history.server.execute("SELECT pg_switch_wal()")
    history.server.execute("CHECKPOINT")
    return ""


def read_only(history: LogHistory, dice: Random) -> str:
    """A run reads and does not load."""
    return history.read_only(dice.choice(((0, 1), (0, 1), (0,), (1,))))


def load_stale(history: LogHistory, dice: Random) -> str:
    """What was read is loaded after all."""
    return history.load_stale(dice.choice(history.stale)) if history.stale else NOTHING


def move_leases(history: LogHistory, dice: Random) -> str:
    """Runs of the other setting."""
    return history.move_leases()


def _told(is_done: bool) -> str:
    return "done" if is_done else "refused"


LOG_WEIGHTS: Mapping[LogStep, int] = {
    write: 20, edit: 16, change_table: 4, run: 9, run_one: 3, run_as_asked: 2, run_while_written: 6, crash: 7,
    kill_server: 2, lose_slot: 3, lose_publication: 3, fill_log: 2, checkpoint: 2, read_only: 4, load_stale: 4,
    move_leases: 2,
}  # fmt: skip
"""How often each is taken, out of their sum."""
