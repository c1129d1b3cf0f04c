"""Faults on demand, for tests of what survives them: ``STANDIN INJECT '<json>'`` and ``STANDIN RESET``.

    {"statement": "copy", "nth": 1, "action": "error:1023"}

statement   copy, unload, commit, merge, delete, insert, update, select, lock, create, alter, …, or any
nth         the fault strikes at the nth such statement from now on, on any connection (default 1)
action      error:1023 | error:<sqlstate>:<text> | close (before it runs) | close_after (it ran, no answer) |
            sleep:<seconds> (then it runs) | close_after_rows:<count> (COPY: cut in the middle)
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass

from local.redshift.errors import SYNTAX_ERROR, RedshiftError, isolation_violation

ACTIONS = ("error", "close", "close_after", "sleep", "close_after_rows")


@dataclass
class Fault:
    """A fault that waits for its statement."""

    statement: str
    remaining: int
    action: str
    argument: str

    def error(self) -> RedshiftError:
        """Return the error of an ``error:`` action."""
        sqlstate, _, text = self.argument.partition(":")
        if sqlstate == "1023":
            return isolation_violation()
        return RedshiftError(sqlstate, text or "injected", rule="none: injected")


class Injector:
    """The faults of one stand-in, shared by all its connections."""

    def __init__(self) -> None:
        self._lock, self._faults = threading.Lock(), list[Fault]()

    def add(self, text: str) -> None:
        """Add the fault described in JSON; raises RedshiftError if it is malformed."""
        try:
            described = json.loads(text)
            action, _, argument = described["action"].partition(":")
            fault = Fault(described["statement"].lower(), int(described.get("nth", 1)), action, argument)
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise RedshiftError(SYNTAX_ERROR, "STANDIN INJECT takes statement, nth and action", rule="none") from error
        if fault.action not in ACTIONS or fault.remaining < 1:
            raise RedshiftError(SYNTAX_ERROR, f"STANDIN INJECT knows the actions {', '.join(ACTIONS)}", rule="none")
        with self._lock:
            self._faults.append(fault)

    def reset(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._faults.clear()

    def strike(self, statement: str) -> Fault | None:
        """Return the fault that strikes at this statement, or None. A fault strikes once."""
        with self._lock:
            for fault in self._faults:
                if fault.statement in (statement, "any"):
                    fault.remaining -= 1
                    if fault.remaining == 0:
                        self._faults.remove(fault)
                        return fault
        return None
