"""The forms of a pipeline's tables that are recorded in the ledger."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Any

from millrace.warehouse.ledger.ledger import Ledger
from millrace.warehouse.schema.form import Form
from millrace.warehouse.target import Target

MAX_FORM_BYTES = 65_535
"""The length of the ledger's column for a form."""
SINCE_VERSION = 3
"""The first version of the ledger that records forms."""


class RecordedForms:
    """The recorded forms of one pipeline. They are queried once."""

    def __init__(self, connection: Any, ledger: Ledger, pipeline: str) -> None:
        self._connection, self._ledger, self._pipeline = connection, ledger, pipeline
        self._texts: dict[str, str] | None = None

    def find(self, target: Target) -> Form | None:
        """Return the recorded form of a target; None if it was not recorded."""
        text = self._read().get(target.owner.name)
        return Form.from_json(text) if text else None

    def record(self, target: Target, form: Form, at: datetime) -> None:
        """Record the form of a target, unless it is recorded already; the caller commits."""
        self._record(target.owner.name, form, at)

    def record_left_out(self, declared: Collection[str], at: datetime) -> list[str]:
        """Record that rows were loaded without the models that are not ``declared``. The caller commits.

        Return the names of the models for which this was not recorded before.
        """
        forms = {member: Form.from_json(text) for member, text in self._read().items() if member not in declared}
        left_out = {member: form for member, form in forms.items() if form.result and not form.is_left}
        for member, form in left_out.items():
            self._record(member, replace(form, is_left=True), at)
        return sorted(left_out)

    def _record(self, member: str, form: Form, at: datetime) -> None:
        text, of_member = _text(form), (self._pipeline, member)
        if self._read().get(member) == text:
            return
        with self._connection.cursor() as cursor:
            cursor.execute("DELETE FROM millrace.forms WHERE pipeline = %s AND member = %s", of_member)
            cursor.execute(
                "INSERT INTO millrace.forms (pipeline, member, form, since) VALUES (%s, %s, %s, %s)",
                (*of_member, text, at),
            )

    def _read(self) -> dict[str, str]:
        if self._texts is None:
            self._texts = self._ask()
        return self._texts

    def _ask(self) -> dict[str, str]:
        if self._ledger.version < SINCE_VERSION:
            return {}
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT member, form FROM millrace.forms WHERE pipeline = %s", (self._pipeline,))
            return dict(cursor.fetchall())


def _text(form: Form) -> str:
    """Return the text of a form.

    A text that is too long leaves out the columns that refuse NULL, which may be many.
    """
    text = form.as_json()
    return text if len(text.encode()) <= MAX_FORM_BYTES else replace(form, required=()).as_json()
