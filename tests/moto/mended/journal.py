"""What was asked of the endpoint and what happened in it, with times: a test compares it with what it expected."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any


class Journal:
    """Events in the order in which they happened, and how often each action was called. Times are Unix seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: list[dict[str, Any]] = []
        self._calls: Counter[str] = Counter()

    def called(self, action: str) -> None:
        """Counts a request, before it is known whether it succeeds."""
        with self._lock:
            self._calls[action] += 1

    def note(self, kind: str, *, at: float | None = None, **details: Any) -> None:
        """Appends an event."""
        with self._lock:
            self._events.append({"time": time.time() if at is None else at, "kind": kind, **details})

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """All events, or those of a kind."""
        with self._lock:
            return [event for event in self._events if kind in (None, event["kind"])]

    def calls(self) -> dict[str, int]:
        """How often each action was called."""
        with self._lock:
            return dict(self._calls)

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._events.clear()
            self._calls.clear()
