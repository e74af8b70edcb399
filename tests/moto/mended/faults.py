"""Errors on demand: what a test posts to /innkeeper/faults, used up one request after the other."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# EC2 answers these after it has looked at the request: a client token is bound by then.
CAPACITY = {
    "InstanceLimitExceeded",
    "InsufficientFreeAddressesInSubnet",
    "InsufficientHostCapacity",
    "InsufficientInstanceCapacity",
    "MaxSpotInstanceCountExceeded",
    "SpotMaxPriceTooLow",
    "VcpuLimitExceeded",
    "VolumeLimitExceeded",
}


@dataclass
class Fault:
    """One rule: after `skip` requests for `action` ("*": any), the next `count` go wrong.

    `error` is an EC2 code, answered instead of serving the request. Without it the request is served, after `delay`
    seconds, and with `lost` the connection is cut instead of answering: the caller cannot know that it was served.
    `where` names parameters of the request that must have these values, such as {"InstanceType": "t3.small"}.
    """

    action: str
    count: int = 1
    skip: int = 0
    error: str | None = None
    message: str | None = None
    delay: float = 0.0
    lost: bool = False
    where: dict[str, str] = field(default_factory=dict)

    def strikes(self, action: str, form: Mapping[str, str]) -> bool:
        """Whether it is about this request."""
        return self.action in (action, "*") and all(form.get(name) == value for name, value in self.where.items())

    @classmethod
    def parse(cls, rule: Mapping[str, Any]) -> Fault:
        """Reads a posted rule; an unknown name or a wrong type is a ValueError."""
        try:
            fault = cls(**rule)
        except TypeError as error:
            raise ValueError(f"not a fault: {error}") from error
        if not isinstance(fault.action, str) or not isinstance(fault.error, str | None):
            raise ValueError("action and error are strings")
        if not isinstance(fault.where, dict):
            raise ValueError("where is an object of parameters and values")
        if fault.count < 1 or fault.skip < 0 or fault.delay < 0:
            raise ValueError("count is at least 1, skip and delay at least 0")
        if not (fault.error or fault.delay or fault.lost):
            raise ValueError("a fault has an error, a delay or lost")
        return fault


class Faults:
    """The rules not used up yet, oldest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Appends a rule."""
        with self._lock:
            self._rules.append(fault)

    def take(self, action: str, form: Mapping[str, str], *, capacity: bool | None = None) -> Fault | None:
        """The fault for this request, if any. `capacity` True: only of the kind EC2 answers late; False: no such."""
        with self._lock:
            for rule in self._rules:
                if not rule.strikes(action, form):
                    continue
                if capacity is not None and capacity != (rule.error in CAPACITY):
                    continue
                if rule.skip:
                    rule.skip -= 1
                    continue
                rule.count -= 1
                if not rule.count:
                    self._rules.remove(rule)
                return rule
        return None

    def pending(self) -> list[dict[str, Any]]:
        """What is left of the rules."""
        with self._lock:
            return [asdict(rule) for rule in self._rules]

    def clear(self) -> None:
        """Drops every rule."""
        with self._lock:
            self._rules.clear()
