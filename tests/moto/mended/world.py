"""What the mended parts share: one of it per process, as moto's own state is."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from .faults import Faults
from .journal import Journal
from .settings import Settings
from .tokens import Tokens


class World:
    """The endpoint's state beside moto's."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        """Held while a request that changes something is served: moto's models are not made for threads."""
        self.settings = Settings()
        self.journal = Journal()
        self.faults = Faults()
        self.tokens = Tokens()
        self.denied: set[str] = set()
        """Actions that the caller may not use."""
        self.version = 0
        """Goes up with whatever may change what Describe answers."""
        self.answers: dict[str, tuple[int, bytes, tuple[Any, ...]]] = {}
        """What DescribeInstances answered last to each question, at which version."""
        self.hidden_until = 0.0
        """When the last instance that Describe does not know yet becomes known."""
        self.deaf: set[str] = set()
        """Instances whose system does not react to being asked to shut down."""

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Around whatever changes something. An answer that is read meanwhile is of no version that lasts."""
        with self.lock:
            self.version += 1
            try:
                yield
            finally:
                self.version += 1

    def clear(self) -> None:
        """Forgets all but the settings."""
        self.journal.clear()
        self.faults.clear()
        self.tokens.clear()
        self.denied.clear()
        self.deaf.clear()
        self.answers.clear()
        self.version += 1


WORLD = World()
