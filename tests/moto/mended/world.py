"""What the mended parts share: one of it per process, as moto's own state is."""

from __future__ import annotations

import threading

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
        self.deaf: set[str] = set()
        """Instances whose system does not react to being asked to shut down."""

    def clear(self) -> None:
        """Forgets all but the settings."""
        self.journal.clear()
        self.faults.clear()
        self.tokens.clear()
        self.denied.clear()
        self.deaf.clear()


WORLD = World()
