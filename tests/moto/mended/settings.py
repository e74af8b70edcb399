"""What a test can choose, at the start or later through /innkeeper/settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True)
class Settings:
    """All times in seconds."""

    delay: float = 1.0
    """From pending to running, stopping to stopped, shutting-down to terminated."""
    hide: float = 0.0
    """How long after RunInstances an instance is not known to other calls (eventual consistency)."""
    forget: float = 3600.0
    """How long a terminated instance is still shown."""
    cooldown: float = 21600.0
    """How long after a change of a volume the next is refused."""

    def changed(self, values: Mapping[str, Any]) -> Settings:
        """These settings with some replaced; an unknown name or a bad value is a ValueError."""
        known = {field.name for field in fields(self)}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"there is no setting {name}; there are {', '.join(sorted(known))}")
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise ValueError(f"{name} is a number of seconds")
        return replace(self, **{name: float(value) for name, value in values.items()})
