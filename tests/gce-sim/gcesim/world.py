"""The state of the simulated projects, the clock, and what a test may set. One lock guards all of it."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any

Json = dict[str, Any]
BASE = "https://www.googleapis.com/compute/v1/"


class Refused(Exception):
    """An error that the API answers."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message

    def body(self) -> Json:
        """As Google writes it."""
        domain = "usageLimits" if self.status in (403, 429) and self.reason != "forbidden" else "global"
        error = {"message": self.message, "domain": domain, "reason": self.reason}
        return {"error": {"code": self.status, "message": self.message, "errors": [error]}}


def missing(path: str) -> Refused:
    """The answer for something that is not there."""
    return Refused(404, "notFound", f"The resource '{path}' was not found")


@dataclass(frozen=True)
class Settings:
    """Times in seconds."""

    step: float = 0.1
    """From one state of an instance to the next."""
    hide: float = 0.0
    """How long a new instance is missing from reads."""
    grace: float = 1.5
    """How long a system that ignores the shutdown keeps running. 90 seconds at Google."""

    def changed(self, new: Json) -> Settings:
        """With some of them changed."""
        wrong = set(new) - set(asdict(self))
        if wrong or any(not isinstance(value, int | float) or value < 0 for value in new.values()):
            raise ValueError(f"settings are {', '.join(asdict(self))}, in seconds")
        return replace(self, **new)


@dataclass
class Fault:
    """The next `count` calls of `method` after `skip` of them go wrong: with an HTTP `status` and `reason`, or by an operation
    that ends with the error `code`. `where`: only in this zone, or of this machine type, or for spot."""

    method: str
    code: str | None = None
    status: int | None = None
    reason: str = "backendError"
    message: str = "refused by the test"
    count: int = 1
    skip: int = 0
    where: Json = field(default_factory=dict)

    @classmethod
    def parse(cls, rule: Json) -> Fault:
        """Reads a posted rule."""
        try:
            fault = cls(**rule)
        except TypeError as error:
            raise ValueError(f"not a fault: {error}") from error
        if (fault.code is None) == (fault.status is None):
            raise ValueError("a fault has exactly one of code (of an operation) and status (of HTTP)")
        return fault


@dataclass
class Operation:
    """A change under way."""

    value: Json
    ends: float
    apply: Callable[[], None]
    error: Json | None


@dataclass
class Thing:
    """An instance or a disk: what the API shows, and what it does not."""

    value: Json
    made: float
    plan: list[tuple[float, str]] = field(default_factory=list)
    """States to come and when."""
    shown: float = 0.0
    """From when on reads show it."""
    deaf: bool = False
    record: Json = field(default_factory=dict)


Key = tuple[str, str, str]


class World:
    """Everything that there is. Take `lock` before you touch it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.settings = Settings()
        self.clear()

    def clear(self) -> None:
        """Empty projects."""
        self.instances: dict[Key, Thing] = {}
        self.disks: dict[Key, Thing] = {}
        self.operations: dict[Key, Operation] = {}
        self.requests: dict[tuple[str, str], Key] = {}
        self.faults: list[Fault] = []
        self.history: list[Json] = []
        self.calls: dict[str, int] = {}
        self.denied: set[str] = set()
        self.unreachable: set[str] = set()

    def settle(self) -> None:
        """Lets happen what is due."""
        now = time.monotonic()
        for thing in self.instances.values():
            while thing.plan and now >= thing.plan[0][0]:
                thing.value["status"] = thing.plan.pop(0)[1]
                if thing.value["status"] == "RUNNING":
                    thing.record["ran"] = True
        for operation in self.operations.values():
            if operation.value["status"] == "DONE" or now < operation.ends:
                continue
            operation.value.update(status="DONE", progress=100, endTime=stamp())
            if operation.error:
                operation.value["error"] = {"errors": [operation.error]}
                operation.value.update(httpErrorStatusCode=503, httpErrorMessage="SERVICE UNAVAILABLE")
            operation.apply()

    def plan(self, thing: Thing, *states: str) -> float:
        """Sets the first state now and the others a step after each other. Answers when the last is reached."""
        at = time.monotonic()
        thing.value["status"], thing.plan = states[0], []
        for state in states[1:]:
            slow = thing.deaf and state in ("TERMINATED", "SUSPENDED")
            at += self.settings.grace if slow else self.settings.step
            thing.plan.append((at, state))
        return at

    def fault(self, method: str, facts: Json) -> Fault | None:
        """The fault that strikes this call, used up by it."""
        for fault in self.faults:
            fits = all(facts.get(name) == value for name, value in fault.where.items())
            if fault.method != method or not fits:
                continue
            if fault.skip:
                fault.skip -= 1
                return None
            fault.count -= 1
            if not fault.count:
                self.faults.remove(fault)
            return fault
        return None

    def note(self, kind: str, **facts: Any) -> Json:
        """Writes into the history."""
        event = {"time": time.time(), "kind": kind, **facts}
        self.history.append(event)
        return event


WORLD = World()


def stamp() -> str:
    """Now, as Google writes it: in the time of California."""
    return datetime.now(timezone(timedelta(hours=-8))).isoformat(timespec="milliseconds")


def fingerprint(value: Any) -> str:
    """What a change must name to be about the present state."""
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def number() -> str:
    """A new id: digits, never used before."""
    return str((uuid.uuid4().int >> 65) | (1 << 62))
