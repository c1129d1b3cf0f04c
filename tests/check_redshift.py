"""``make check-redshift``: in ten minutes what a person wants to know of a new cluster, with a table at the end.

The questions are in order of risk: what is most likely to be otherwise on a cluster than on the stand-in comes first.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field

import pytest
from rich.console import Console
from rich.table import Table

CONTRACT, ENGINE = "tests/local/redshift", "tests/millrace"
RULES = f"{ENGINE}/warehouse/test_rules_of_redshift.py"


@dataclass
class Check:
    """A question, and the tests that answer it."""

    question: str
    tests: tuple[str, ...]
    outcomes: list[str] = field(default_factory=list)
    seconds: float = 0

    @property
    def answer(self) -> str:
        """What the tests said."""
        failed = sum(outcome == "failed" for outcome in self.outcomes)
        return "not run" if not self.outcomes else f"{failed} of {len(self.outcomes)} failed" if failed else "ok"


CHECKS = (
    Check("Does a first load, a second one and a sweep work?", (f"{RULES}::test_keys_of_several_columns",)),
    Check(
        "Where is the length of a VARBYTE, and is it widened in place?",
        (
            f"{CONTRACT}/test_contract_rules.py::test_the_columns_view_has_no_length_of_varbyte",
            f"{CONTRACT}/test_contract_rules.py::test_the_catalog_has_the_length_of_varbyte",
            f"{CONTRACT}/test_contract_rules.py::test_varbyte_is_widened_in_place",
            f"{RULES}::test_bytes_grow_in_place",
        ),
    ),
    Check(
        "Do decimals of 19 digits overflow?",
        (f"{CONTRACT}/test_contract_rules.py::test_a_decimal_of_19_digits_overflows",),
    ),
    Check(
        "Do sessions at once repeat what conflicted?",
        (
            f"{ENGINE}/warehouse/test_lease.py::test_two_pipelines_load_into_one_warehouse_at_once",
            f"{CONTRACT}/test_contract_transactions.py",
        ),
    ),
    Check(
        "Do two runs that take one stream at once both get it?",
        (
            f"{ENGINE}/warehouse/test_lease.py::test_two_runs_that_take_a_stream_for_the_first_time_do_not_both_get_it",
            f"{ENGINE}/warehouse/test_lease.py::test_two_runs_at_once_deliver_every_row_once",
        ),
    ),
    Check(
        "Does a failed COPY say why?",
        (
            f"{ENGINE}/warehouse/test_refusals_of_redshift.py::test_a_failed_copy_is_told_as_the_warehouse_recorded_it",
            f"{CONTRACT}/test_contract_rules.py::test_the_id_of_a_copy_that_was_rolled_back_is_forgotten",
            f"{CONTRACT}/test_contract_copy.py::test_a_value_too_long_in_bytes_fails_all_and_is_recorded",
        ),
    ),
    Check(
        "Are columns widened that are part of a key or have a dictionary?",
        (
            f"{RULES}::test_a_column_of_a_key_of_the_table_is_widened",
            f"{RULES}::test_a_text_with_a_dictionary_is_widened",
        ),
    ),
    Check("Does the cluster refuse what the stand-in refuses?", (f"{CONTRACT}/test_contract_rules.py::test_refused",)),
    Check("Do trailing blanks count?", (f"{RULES}::test_keys_that_differ_in_blanks_are_told_and_not_merged",)),
    Check(
        "Are documents refused that SUPER does not hold, and the others loaded?",
        (
            f"{CONTRACT}/test_contract_rules.py::test_documents_that_super_refuses",
            f"{RULES}::test_a_document_that_is_too_deep_is_rejected",
            f"{RULES}::test_a_document_that_cannot_be_parsed_is_named",
        ),
    ),
    Check(
        "Are large tables stored by their key?",
        (
            f"{RULES}::test_a_large_table_is_distributed_by_its_key",
            f"{RULES}::test_a_table_is_stored_as_declared",
        ),
    ),
    Check("Do values arrive exactly?", (f"{ENGINE}/sources/test_exact_values.py::test_every_value_arrives_exactly",)),
)
BY_HAND = (
    "By hand: the time of a run while an external schema is attached; EXPLAIN of a load into 10^8 rows (DS_DIST_NONE); "
    "the views as the analyst."
)


class Recorder:
    """Notes what became of the tests of each check, and brings them into order."""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Run the checks in their order."""
        items.sort(key=lambda item: CHECKS.index(_check_of(item.nodeid)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the outcome of a test, or that its places could not be made."""
        check = _check_of(report.nodeid)
        check.seconds += report.duration
        if report.when == "call" or report.failed:
            check.outcomes.append(report.outcome)


def _check_of(node: str) -> Check:
    return next(
        check for check in CHECKS if any(node.split("[", maxsplit=1)[0].startswith(test) for test in check.tests)
    )


def main() -> int:
    """Run all checks and print what they say."""
    started = time.monotonic()
    nodes = [test for check in CHECKS for test in check.tests]
    code = pytest.main(["-q", "--no-header", "--tb=short", *nodes, *sys.argv[1:]], plugins=[Recorder()])
    table = Table("question", "answer", "s", title=os.environ.get("REDSHIFT_URL", "").rpartition("@")[2])
    for check in CHECKS:
        table.add_row(check.question, check.answer, f"{check.seconds:.0f}")
    Console(width=110).print(table)
    Console().print(f"{time.monotonic() - started:.0f} s. {BY_HAND}")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
