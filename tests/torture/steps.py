"""The steps a history may take; each is a function of the history and of dice, and does nothing where it cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from random import Random

from tests.torture.crash import MANNERS
from tests.torture.history import History
from tests.torture.judge import Kind
from tests.torture.life import NOTHING, load_waiting, pause, read_all, reload, rename, reset
from tests.torture.short import QUESTIONS, Cut
from tests.torture.source import Stamp
from tests.torture.values import LONGEST_REDSHIFT_TEXT_BYTES, Key, Row

Step = Callable[[History, Random], str]
"""What was done, in words."""
MOST_ROWS = 16
MOST_TRANSACTIONS = 3
APPLY_STEPS, LONGEST_RUN_STEPS = 38, 76
"""Where in a run the batch begins to be applied, and how long a run is, in steps of crash.py."""
KINDS: tuple[Kind, ...] = ("window", "window", "sweep")


def insert(history: History, dice: Random) -> str:
    """One to three rows with one stamp; one that was deleted may come back."""
    rows = _fresh_rows(history, dice)
    if not rows:
        return NOTHING
    stamp: Stamp = dice.choice(("now", "now", "now", "now", "never", "ahead"))
    history.source.insert(list(rows.values()), stamp)
    for key in rows:
        history.noticed(key, stamp)
    return f"{list(rows)} stamped {stamp}"


def update(history: History, dice: Random) -> str:
    """A row, stamped."""
    return _change(history, dice, "now" if dice.random() < 0.8 else "never")


def update_silently(history: History, dice: Random) -> str:
    """A row, its stamp as it was."""
    return _change(history, dice, "same")


def delete(history: History, dice: Random) -> str:
    """One row, seldom all."""
    keys, contents = history.free_keys(), history.source.contents()
    chosen = keys if dice.random() < 0.05 else dice.sample(keys, min(1, len(keys)))
    for key in chosen:
        history.source.delete(key)
        history.deleted[key] = contents[key]
    return f"{chosen}"


def bring_back(history: History, dice: Random) -> str:
    """A deleted row is there again as it was; its stamp tells nothing."""
    taken = _taken(history)
    keys = sorted((key for key in history.deleted if key not in taken), key=repr)
    if not keys:
        return NOTHING
    key = dice.choice(keys)
    history.source.restore(history.deleted.pop(key))
    history.noticed(key, "same")
    return f"{key}"


def spoil(history: History, dice: Random) -> str:
    """Values that have no place in the target, or break the contract."""
    stamp: Stamp = dice.choice(("now", "now", "same"))
    values = history.source.bad_values(dice, history.delivered_columns())
    if dice.random() < 0.5:
        values = {"grade": dice.choice((-1, 101))}
    if dice.random() < 0.05:
        values = {"body": "z" * (LONGEST_REDSHIFT_TEXT_BYTES + 1)}
    return _change(history, dice, stamp, values)


def mend(history: History, dice: Random) -> str:
    """A bad row is good again; whether a stamp says so is open."""
    bad = [key for key, row in history.source.contents().items() if history.is_bad(row)]
    keys = [key for key in history.free_keys() if key in bad]
    stamp: Stamp = dice.choice(("now", "same", "same"))
    return _change(history, dice, stamp, history.source.fresh_values(dice), keys)


def write_late(history: History, dice: Random) -> str:
    """In a transaction, a new one or one that is open: stamped now, seen when it commits."""
    if not history.transactions or (len(history.transactions) < MOST_TRANSACTIONS and dice.random() < 0.5):
        history.transactions.append(history.source.begin())
    transaction, keys = dice.choice(history.transactions), history.free_keys()
    if keys and dice.random() < 0.5:
        key = dice.choice(keys)
        transaction.update(key, history.source.fresh_values(dice, 0.5))
        transaction.touched.add(key)
        return f"update {key}"
    rows = _fresh_rows(history, dice)
    if rows:
        transaction.insert(list(rows.values()))
        transaction.touched.update(rows)
    return f"insert {list(rows)}"


def commit_late(history: History, dice: Random) -> str:
    """What other transactions have overtaken."""
    return _end_transaction(history, dice, commit=True)


def roll_back(history: History, dice: Random) -> str:
    """As if it had never been."""
    return _end_transaction(history, dice, commit=False)


def change_shape(history: History, dice: Random) -> str:
    """A column comes, goes, is renamed or becomes wider. Open transactions would be in its way."""
    while history.transactions:
        _end_transaction(history, dice, commit=True)
    change = history.source.change_shape(dice)
    if change is None:
        return NOTHING
    if change.rewrites:
        history.unseen |= history.source.contents().keys()
    history.was_rehashed |= change.rehashes
    return change.what


def window(history: History, dice: Random) -> str:
    """An ordinary run."""
    return history.run("window")


def sweep(history: History, dice: Random) -> str:
    """The whole source compared with the whole target."""
    return history.run("sweep")


def replay(history: History, dice: Random) -> str:
    """The rejected rows once more."""
    return history.run("replay")


def crash(history: History, dice: Random) -> str:
    """A run ends at one of its steps. Its holder, or another one, begins again at a later step."""
    kind, manner = dice.choice((*KINDS, "replay")), dice.choice(MANNERS)
    step = dice.randrange(dice.choice((1, APPLY_STEPS)), LONGEST_RUN_STEPS)
    ended = history.run(kind, trouble=lambda: history.engine.trap.arm(step, manner))
    return f"{kind} {manner} at step {step} ({history.engine.trap.struck or 'it ended before'}): {ended}"


def fault(history: History, dice: Random) -> str:
    """The stand-in for Redshift answers a statement with a conflict, or not at all."""
    if history.setting.warehouse != "redshift":
        return crash(history, dice)
    action = dice.choice(("error:1023", "error:1023", "close", "close_after"))
    statement = dice.choice(("lock", "create", "delete", "insert", "commit", "select"))
    described: dict[str, str | int] = {"statement": statement, "nth": dice.randrange(1, 6), "action": action}
    ended = history.run(dice.choice(KINDS), trouble=lambda: history.engine.inject(described))
    return f"{described}: {ended}"


def cut_short(history: History, dice: Random) -> str:
    """A run whose source answers less than it holds: it fails, or is right all the same."""
    questions = tuple(dice.sample(QUESTIONS, dice.randrange(1, len(QUESTIONS) + 1)))
    cut = Cut(questions, most=dice.randrange(4))
    ended = history.run(dice.choice(("window", "sweep", "sweep", "replay")), cut=cut)
    return f"{cut}: {ended}"


def refuse(history: History, dice: Random) -> str:
    """A batch that is refused, then allowed."""
    return history.refused(dice.choice(("window", "sweep", "sweep")))


def usurp(history: History, dice: Random) -> str:
    """Another holder comes: it waits for a lease that is held, and takes over one that has expired."""
    if dice.random() < 0.5:
        history.view.expire_lease()
    return history.run(dice.choice(KINDS), holder="second")


def twins(history: History, dice: Random) -> str:
    """Two runs at once."""
    if not history.has_target():
        return NOTHING
    return history.twins((dice.choice(KINDS), dice.choice(KINDS)))


def run_while_written(history: History, dice: Random) -> str:
    """The source changes while a run is under way. Without an overlap a stamp may be a little older than its start."""
    if history.setting.source == "postgres" and history.setting.is_exact:
        return history.run("window")
    history.view.expire_lease()
    return history.run(dice.choice(KINDS), meanwhile=lambda: _write_a_little(history, dice))


def extract(history: History, dice: Random) -> str:
    """A batch that is loaded later, when the source is another one, or never."""
    return history.extract("sweep" if history.has_target() and dice.random() < 0.5 else "window")


def load_late(history: History, dice: Random) -> str:
    """A batch that was read earlier, once or twice, or twice at once."""
    if not history.stale:
        return NOTHING
    return history.load(dice.choice(history.stale[-2:]), dice.choice((1, 1, 2)))


def move_leases(history: History, dice: Random) -> str:
    """A deployment with the other setting; the run of the former one may be dead or not."""
    return history.move_leases()


WEIGHTS: Mapping[Step, int] = {
    insert: 10, update: 10, update_silently: 5, delete: 5, bring_back: 3, spoil: 5, mend: 4, write_late: 8,
    commit_late: 6, roll_back: 1, change_shape: 5, window: 9, sweep: 3, replay: 3, crash: 5, fault: 2, usurp: 2,
    twins: 2, run_while_written: 2, extract: 4, load_late: 4, cut_short: 3,
    refuse: 3, move_leases: 2, load_waiting: 4, read_all: 1, reload: 2, reset: 2, pause: 2, rename: 3,
}  # fmt: skip
"""How often each is taken, out of their sum."""


def _fresh_rows(history: History, dice: Random) -> dict[Key, Row]:
    taken = _taken(history)
    rows: dict[Key, Row] = {}
    for _ in range(min(dice.randrange(1, 4), MOST_ROWS - len(taken))):
        key = history.source.fresh_key(dice, taken)
        taken.add(key)
        rows[key] = dict(zip(history.source.keys, key, strict=True)) | history.source.fresh_values(dice)
    return rows


def _taken(history: History) -> set[Key]:
    """Keys that a row has, or will have if a transaction commits."""
    locked = {key for transaction in history.transactions for key in transaction.touched}
    return {*history.source.contents(), *locked}


def _change(
    history: History, dice: Random, stamp: Stamp, values: Row | None = None, keys: list[Key] | None = None
) -> str:
    """One row; by default any, in some of its columns."""
    chosen = history.free_keys() if keys is None else keys
    if not chosen:
        return NOTHING
    key, values = dice.choice(chosen), values or history.source.fresh_values(dice, 0.5)
    history.source.update(key, values, stamp)
    history.noticed(key, stamp)
    return f"{key} stamped {stamp}: {sorted(values)}"


def _end_transaction(history: History, dice: Random, *, commit: bool) -> str:
    if not history.transactions:
        return NOTHING
    transaction = dice.choice(history.transactions)
    history.close_transaction(transaction, commit=commit)
    return f"{sorted(transaction.touched, key=repr)}"


def _write_a_little(history: History, dice: Random) -> Set[Key]:
    """Which keys were written; also one that came and went, which the run may have read in between."""
    written: set[Key] = set()
    before = history.source.contents()
    for step in (insert, update, delete, update, insert):
        step(history, dice)
        after = history.source.contents()
        written |= {key for key in {*before, *after} if before.get(key) != after.get(key)}
        before = after
    return written
