"""Collect messages of a queue into the lake: receive side by side, write objects of a useful size, delete what is safe.

A message is deleted only after the object that holds it is durable; until then it is kept from other consumers by
renewing its visibility. A consumer that dies loses nothing: its messages come again, and duplicates are told by their
key when they are applied (docs/decisions/0011-queues.md). Any number of consumers may work at once.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from millrace.base.background import repeat_in_background
from millrace.base.errors import MillraceError, Unreachable
from millrace.lake.store import ObjectStore
from millrace.queues.objects import put_messages
from millrace.queues.queue import Message, MessageQueue

STALE = timedelta(hours=6)
"""How old the name of an object may be when it is written.

It is well within the time for which runs look for objects with late names (source.py).
"""

DELETED_AT_ONCE = 10
"""How many messages one request deletes at most."""


@dataclass(frozen=True)
class Budget:
    """When a consumer stops: as soon as one of these is true."""

    seconds: float | None = None
    """It worked for so many seconds; None: no limit."""
    messages: int | None = None
    """It collected so many messages; None: no limit."""
    until_empty: bool = True
    """The queue is empty."""


@dataclass(frozen=True)
class Pace:
    """How a consumer works: how many requests at once, how large objects are, how long it waits."""

    lanes: int = 8
    """How many requests there are at once."""
    object_messages: int = 5_000
    """An object is written when so many messages wait."""
    object_bytes: int = 32 * 1024 * 1024
    """An object is written when the messages that wait have so many bytes."""
    flush_seconds: float = 30
    """An object is written when the first message has waited so long."""
    visibility_seconds: int = 60
    """How long the queue keeps a message from other consumers before it must be renewed."""
    wait_seconds: int = 20
    """How long a receive waits for messages."""


@dataclass(frozen=True)
class Collected:
    """What a consumer collected."""

    objects: int = 0
    """Objects of the lake that were written."""
    messages: int = 0
    """Messages in these objects."""
    returning: int = 0
    """Messages among them that could not be deleted and will come again."""

    def __add__(self, other: Collected) -> Collected:
        """Return the sums of both."""
        return Collected(self.objects + other.objects, self.messages + other.messages, self.returning + other.returning)


Progress = Callable[[Collected], None]


def collect(
    queue: MessageQueue,
    store: ObjectStore,
    prefix: str,
    budget: Budget,
    pace: Pace,
    stop: threading.Event,
    progress: Progress,
) -> Collected:
    """Collect until the budget is spent or ``stop`` is set; then write and delete all messages in hand.

    Raises what queue and store raise, after all lanes have ended; messages that are still in hand are given back to the
    queue.
    """
    return _Consumer(queue, store, prefix, budget, pace, stop, progress).run()


class _InHand:
    """Messages in hand, and until when the queue keeps each from other consumers.

    A message waits for its object to be written, or it is safe and waits to be deleted.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace, self._lock = pace, threading.Lock()
        self._waiting: list[Message] = []
        self._bytes, self._since = 0, 0.0
        self._until: dict[str, float] = {}
        self._safe: deque[str] = deque()
        self.received = 0

    def add(self, messages: Sequence[Message], asked: float) -> list[Message]:
        """Take messages in hand that were asked for at the time ``asked``.

        Return all messages that wait, if they are to be written now.
        """
        with self._lock:
            if not self._waiting:
                self._since = time.monotonic()
            self._waiting += messages
            self._bytes += sum(len(message.body) for message in messages)
            self._until |= dict.fromkeys(
                (message.receipt for message in messages), asked + self._pace.visibility_seconds
            )
            self.received += len(messages)
            return self._take() if self._is_due() else []

    def count_seconds_until_due(self) -> float:
        """Return the seconds until the waiting messages are to be written; infinity if none wait."""
        with self._lock:
            return self._since + self._pace.flush_seconds - time.monotonic() if self._waiting else math.inf

    def take(self) -> list[Message]:
        """Return all messages that wait for an object; they wait no more."""
        with self._lock:
            return self._take()

    def make_safe(self, messages: Sequence[Message]) -> None:
        """Record that the object of these messages is durable."""
        with self._lock:
            self._safe += [message.receipt for message in messages]

    def take_safe(self) -> list[str]:
        """Return receipts of messages that are to be deleted, as many as one request takes."""
        with self._lock:
            return [self._safe.popleft() for _ in range(min(len(self._safe), DELETED_AT_ONCE))]

    def forget(self, receipts: Sequence[str]) -> None:
        """Forget messages that are deleted or given back."""
        with self._lock:
            for receipt in receipts:
                self._until.pop(receipt, None)

    def take_ending(self) -> list[str]:
        """Return the messages that the queue keeps for us for less than half of the time.

        From now on they count as kept for the whole time again.
        """
        now, seconds = time.monotonic(), self._pace.visibility_seconds
        with self._lock:
            ending = [receipt for receipt, until in self._until.items() if until - now < seconds / 2]
            self._until |= dict.fromkeys(ending, now + seconds)
        return ending

    def list_receipts(self) -> list[str]:
        """Return the receipts of all messages in hand."""
        with self._lock:
            return list(self._until)

    def _is_due(self) -> bool:
        return bool(self._waiting) and (
            len(self._waiting) >= self._pace.object_messages
            or self._bytes >= self._pace.object_bytes
            or time.monotonic() - self._since >= self._pace.flush_seconds
        )

    def _take(self) -> list[Message]:
        taken, self._waiting, self._bytes = self._waiting, [], 0
        return taken


class _Consumer:
    """Lanes that each receive, write and delete messages; beside them one thread that renews their visibility."""

    def __init__(
        self,
        queue: MessageQueue,
        store: ObjectStore,
        prefix: str,
        budget: Budget,
        pace: Pace,
        stop: threading.Event,
        progress: Progress,
    ) -> None:
        self._queue, self._store, self._prefix = queue, store, prefix
        self._budget, self._pace, self._stop, self._progress = budget, pace, stop, progress
        self._in_hand, self._failed, self._counting = _InHand(pace), threading.Event(), threading.Lock()
        self._collected = Collected()
        self._end = math.inf if budget.seconds is None else time.monotonic() + budget.seconds

    def run(self) -> Collected:
        """Collect until all lanes have ended."""
        with (
            ThreadPoolExecutor(self._pace.lanes, thread_name_prefix="collect") as lanes,
            repeat_in_background(self._renew, self._pace.visibility_seconds / 4, "renew"),
        ):
            try:
                self._run_in_all(lanes, self._run_lane)
                self._store_all(self._in_hand.take())
                self._run_in_all(lanes, self._delete_safe)
            except BaseException:
                self._failed.set()
                lanes.shutdown(wait=True)
                with suppress(MillraceError):
                    self._queue.extend(self._in_hand.list_receipts(), 0)
                raise
        return self._collected

    def _run_in_all(self, lanes: ThreadPoolExecutor, work: Callable[[], None]) -> None:
        for lane in [lanes.submit(work) for _ in range(self._pace.lanes)]:
            lane.result()

    def _run_lane(self) -> None:
        """Receive until it is time to stop.

        All lanes delete what is safe before they receive more, so that no more is in hand than an object takes.
        """
        try:
            while self._may_receive():
                self._delete_safe()
                asked, wait_seconds = time.monotonic(), self._wait_seconds()
                messages = self._queue.receive(self._pace.visibility_seconds, wait_seconds)
                self._store_all(self._in_hand.add(messages, asked))
                if not messages and self._budget.until_empty and wait_seconds == self._pace.wait_seconds:
                    break
        except BaseException:
            self._failed.set()
            raise

    def _may_receive(self) -> bool:
        is_spent = self._budget.messages is not None and self._in_hand.received >= self._budget.messages
        return not (is_spent or self._stop.is_set() or self._failed.is_set() or time.monotonic() >= self._end)

    def _wait_seconds(self) -> int:
        """Return how long a receive may wait: at most until the budget ends, or the messages in hand are due."""
        wait_seconds = min(
            self._pace.wait_seconds, self._end - time.monotonic(), self._in_hand.count_seconds_until_due()
        )
        return max(0, math.ceil(wait_seconds))

    def _store_all(self, messages: Sequence[Message]) -> None:
        """Write an object of these messages; then they may be deleted."""
        if not messages:
            return
        named = datetime.now(UTC)
        put_messages(self._store, self._prefix, [(message.message_id, message.body) for message in messages], named)
        if datetime.now(UTC) - named > STALE:
            raise Unreachable(
                "an object was named hours before it was written",
                place=self._store.uri(self._prefix),
                remedy="nothing is lost: its messages come again; see why this consumer stood still",
            )
        self._in_hand.make_safe(messages)
        self._count(Collected(1, len(messages)))

    def _delete_safe(self) -> None:
        while receipts := self._in_hand.take_safe():
            deleted = self._queue.delete(receipts)
            self._in_hand.forget(receipts)
            if deleted < len(receipts):
                self._count(Collected(returning=len(receipts) - deleted))

    def _count(self, saved: Collected) -> None:
        with self._counting:
            self._collected += saved
            self._progress(self._collected)

    def _renew(self) -> None:
        """Keep the messages in hand from other consumers, until all lanes have ended.

        Messages that could not be kept come again: they are duplicates, and none is lost.
        """
        self._queue.extend(self._in_hand.take_ending(), self._pace.visibility_seconds)
