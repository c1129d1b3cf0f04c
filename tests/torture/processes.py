"""Histories over several processes, each with servers of its own."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait

from local.stack import Stack
from tests.torture.driver import Outcome, plan_of, play, shortened
from tests.torture.places import places_on

Player = Callable[[int, range], Iterator[Outcome]]
"""Plays histories of these numbers from a seed."""


def play_rows(seed: int, numbers: range) -> Iterator[Outcome]:
    """These histories of replicated rows, on servers of this process's own.

    One that is played alone is shortened when it goes wrong.
    """
    logging.disable(logging.ERROR)
    with Stack(prefect=False) as stack, places_on(stack, "torture") as places:
        for number in numbers:
            plan, name = plan_of(seed, number), f"history_{number}"
            outcome = play(places, plan, name, number)
            if outcome.problem and len(numbers) == 1:
                outcome = shortened(places, plan, name, outcome)
            yield outcome


def _tell(play_all: Player, seed: int, numbers: range, telling: Connection) -> None:
    """Each outcome as it comes."""
    for outcome in play_all(seed, numbers):
        telling.send(outcome)
    telling.close()


def outcomes(play_all: Player, seed: int, first: int, histories: int, processes: int) -> Iterator[Outcome]:
    """Of all histories, in the order in which they end."""
    context = multiprocessing.get_context("spawn")
    open_ends: list[Connection] = []
    for offset in range(min(processes, histories)):
        receiving, telling = context.Pipe(duplex=False)
        numbers = range(first + offset, first + histories, processes)
        context.Process(target=_tell, args=(play_all, seed, numbers, telling)).start()
        telling.close()
        open_ends.append(receiving)
    while open_ends:
        for end in wait(open_ends):
            assert isinstance(end, Connection)
            try:
                yield end.recv()
            except EOFError:
                open_ends.remove(end)
