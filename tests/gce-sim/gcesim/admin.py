"""The admin routes below /innkeeper/: how a test steers the simulator and reads what happened in it.

GET    /innkeeper/calls          {"instances.insert": 2, ...}: requests by method
GET    /innkeeper/history        [{"time", "kind", ...}, ...]: what was made, stopped, started; `ran` says whether it came to run
GET    /innkeeper/state          {"instances": [...], "disks": [...]}: all of it, hidden ones too
GET    /innkeeper/key[?wrong=1]  a service account's key file
GET    /innkeeper/settings       {"step", "hide", "grace"} in seconds
POST   /innkeeper/settings       some of them
POST   /innkeeper/faults         {"method", "code" or "status", "reason", "message", "count", "skip", "where"}
DELETE /innkeeper/faults
POST   /innkeeper/denied         ["compute.instances.stop", ...]: permissions that nobody has, in place of those before
POST   /innkeeper/unreachable    ["us-central1-f", ...]: zones that lists of all zones lack
POST   /innkeeper/deaf           "ZONE/NAME": this instance's system ignores the shutdown
POST   /innkeeper/preempt        "ZONE/NAME": the spot instance is taken back
POST   /innkeeper/api            {"verb", "path", "body"}: a request of the API by hand, without a token and not counted
POST   /innkeeper/reset          empty projects; settings stay
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from . import changes
from .auth import Account
from .world import WORLD, Fault, Thing


class BadRequest(Exception):
    """The request to an admin route is wrong; the text says what."""


class Admin:
    """Answers the admin routes."""

    def __init__(self, account: Account, by_hand: Callable[[Any], Any]) -> None:
        self._routes: dict[tuple[str, str], Callable[[Mapping[str, str], Any], Any]] = {
            ("GET", "calls"): lambda _query, _body: WORLD.calls,
            ("GET", "history"): lambda _query, _body: WORLD.history,
            ("GET", "state"): lambda _query, _body: _state(),
            ("GET", "key"): lambda query, _body: account.key("wrong" not in query),
            ("GET", "settings"): lambda _query, _body: asdict(WORLD.settings),
            ("POST", "settings"): lambda _query, body: _change(body),
            ("POST", "faults"): lambda _query, body: WORLD.faults.append(Fault.parse(body)),
            ("DELETE", "faults"): lambda _query, _body: WORLD.faults.clear(),
            ("POST", "denied"): lambda _query, body: _replace(WORLD.denied, body),
            ("POST", "unreachable"): lambda _query, body: _replace(WORLD.unreachable, body),
            ("POST", "deaf"): lambda _query, body: setattr(_instance(body), "deaf", True),
            ("POST", "preempt"): lambda _query, body: changes.preempt(_instance(body)),
            ("POST", "api"): lambda _query, body: by_hand(body),
            ("POST", "reset"): lambda _query, _body: WORLD.clear(),
        }

    def answer(self, method: str, name: str, query: Mapping[str, str], body: bytes) -> Any:
        """The JSON value for a request."""
        route = self._routes.get((method, name))
        if not route:
            raise BadRequest(f"there is no {method} /innkeeper/{name}")
        try:
            with WORLD.lock:
                WORLD.settle()
                return route(query, json.loads(body) if body else None)
        except ValueError as error:
            raise BadRequest(str(error)) from error


def _state() -> Any:
    shown = [thing.value for thing in WORLD.instances.values()]
    return {"instances": shown, "disks": [thing.value for thing in WORLD.disks.values()]}


def _change(body: Any) -> Any:
    WORLD.settings = WORLD.settings.changed(body)
    return asdict(WORLD.settings)


def _replace(values: set[str], body: Any) -> None:
    values.clear()
    values.update(body)


def _instance(path: str) -> Thing:
    zone, _, name = path.partition("/")
    for (_, in_zone, known), instance in WORLD.instances.items():
        if (in_zone, known) == (zone, name):
            return instance
    raise ValueError(f"there is no instance {path}")
