"""The admin routes below /innkeeper/: how a test steers the endpoint and reads what happened in it.

GET    /innkeeper/calls              {"RunInstances": 2, ...}: requests by action
GET    /innkeeper/history[?kind=K]   [{"time", "kind", ...}, ...]: launches, stops, terminations, states, faults,
                                     and requests with effects of clients that name themselves
GET    /innkeeper/faults             rules not used up
POST   /innkeeper/faults             {"action", "count", "skip", "error", "message", "delay", "lost", "where"}, or a list
DELETE /innkeeper/faults
GET    /innkeeper/settings           {"delay", "hide", "forget", "cooldown"} in seconds
POST   /innkeeper/settings           some of them
POST   /innkeeper/denied             ["StopInstances", ...]: actions that nobody may use, in place of those before
POST   /innkeeper/deaf               "i-...": this instance stops only when it is forced
POST   /innkeeper/warn               "i-...": the spot instance is marked for termination
POST   /innkeeper/interrupt          "i-...": the spot instance is taken back
POST   /innkeeper/apart              "token": the instances of this launch become the VMs of a guest each
POST   /innkeeper/reset              an empty account, as after the start; settings stay
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from .crowd import apart
from .faults import Fault
from .lifecycle import LIFECYCLE, interrupt
from .spot import warn
from .world import WORLD


class BadRequest(Exception):
    """The request to an admin route is wrong; the text says what."""


class Admin:
    """Answers the admin routes. `reset` empties moto and puts back what every account starts with."""

    def __init__(self, reset: Callable[[], None]) -> None:
        self._reset = reset
        self._routes: dict[tuple[str, str], Callable[[Mapping[str, str], bytes], Any]] = {
            ("GET", "calls"): lambda _query, _body: WORLD.journal.calls(),
            ("GET", "history"): self._history,
            ("GET", "faults"): lambda _query, _body: WORLD.faults.pending(),
            ("POST", "faults"): self._add_faults,
            ("DELETE", "faults"): lambda _query, _body: WORLD.faults.clear(),
            ("GET", "settings"): lambda _query, _body: asdict(WORLD.settings),
            ("POST", "settings"): self._change_settings,
            ("POST", "denied"): self._deny,
            ("POST", "deaf"): lambda _query, body: WORLD.deaf.add(json.loads(body)),
            ("POST", "warn"): lambda _query, body: warn(json.loads(body)),
            ("POST", "interrupt"): lambda _query, body: interrupt(json.loads(body)),
            ("POST", "apart"): lambda _query, body: apart(json.loads(body)),
            ("POST", "reset"): lambda _query, _body: self._clear(),
        }

    def answer(self, method: str, name: str, query: Mapping[str, str], body: bytes) -> Any:
        """The JSON value for a request."""
        route = self._routes.get((method, name))
        if not route:
            raise BadRequest(f"there is no {method} /innkeeper/{name}")
        try:
            return route(query, body)
        except ValueError as error:
            raise BadRequest(str(error)) from error

    def _history(self, query: Mapping[str, str], _body: bytes) -> Any:
        with WORLD.lock:
            LIFECYCLE.settle()
        return WORLD.journal.events(query.get("kind"))

    def _add_faults(self, _query: Mapping[str, str], body: bytes) -> Any:
        posted = json.loads(body)
        rules = [Fault.parse(rule) for rule in (posted if isinstance(posted, list) else [posted])]
        for rule in rules:
            WORLD.faults.add(rule)
        return WORLD.faults.pending()

    def _change_settings(self, _query: Mapping[str, str], body: bytes) -> Any:
        WORLD.settings = WORLD.settings.changed(json.loads(body))
        return asdict(WORLD.settings)

    def _deny(self, _query: Mapping[str, str], body: bytes) -> Any:
        WORLD.denied = set(json.loads(body))
        return sorted(WORLD.denied)

    def _clear(self) -> None:
        with WORLD.lock:
            LIFECYCLE.clear()
            WORLD.clear()
            self._reset()
