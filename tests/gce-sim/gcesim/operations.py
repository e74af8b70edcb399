"""Operations: every change is one, and repeating a request by its requestId answers the operation of the first."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

from .world import BASE, WORLD, Fault, Json, Operation, Refused, missing, number, stamp

_NO_ROOM = (
    "The zone '{zone}' does not have enough resources available to fulfill the request.  "
    "Try a different zone, or try again later."
)
_MESSAGES = {
    "ZONE_RESOURCE_POOL_EXHAUSTED": _NO_ROOM,
    "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS": _NO_ROOM,
    "QUOTA_EXCEEDED": "Quota 'CPUS' exceeded.  Limit: 24.0 in region {region}.",
}


def begin(
    project: str,
    zone: str,
    kind: str,
    target: Json,
    request: str | None,
    apply: Callable[[], None] = lambda: None,
    ends: float | None = None,
    fault: Fault | None = None,
) -> Json:
    """Starts an operation on a thing. It ends at `ends`, by default a step later, and then `apply` happens."""
    name = f"operation-{int(time.time() * 1000)}-{uuid.uuid4().hex[:13]}"
    where = f"{BASE}projects/{project}/zones/{zone}"
    value: Json = {
        "kind": "compute#operation", "id": number(), "name": name, "operationType": kind, "status": "PENDING", "progress": 0,
        "targetLink": target["selfLink"], "targetId": target["id"], "user": "innkeeper@acme-test.iam.gserviceaccount.com",
        "zone": where, "selfLink": f"{where}/operations/{name}", "insertTime": stamp(), "startTime": stamp(),
    }  # fmt: skip
    if request:
        value["clientOperationId"] = request
        WORLD.requests[(project, request)] = (project, zone, name)
    error = _error(fault, zone) if fault else None
    due = ends if ends is not None else time.monotonic() + WORLD.settings.step
    WORLD.operations[(project, zone, name)] = Operation(value, due, apply, error)
    return dict(value)


def _error(fault: Fault, zone: str) -> Json:
    words = _MESSAGES.get(str(fault.code), fault.message)
    return {"code": fault.code, "message": words.format(zone=zone, region=zone.rsplit("-", 1)[0])}


def fault(method: str, facts: Json) -> Fault | None:
    """The fault that lets the operation of this call fail. One that refuses the call itself does so here."""
    struck = WORLD.fault(method, facts)
    if struck and struck.status:
        raise Refused(struck.status, struck.reason, struck.message)
    return struck


def repeated(project: str, request: str | None) -> Json | None:
    """The operation that this request was answered with before."""
    key = WORLD.requests.get((project, request)) if request else None
    return dict(WORLD.operations[key].value) if key else None


def get(project: str, zone: str, name: str) -> Json:
    """How far an operation is."""
    operation = WORLD.operations.get((project, zone, name))
    if not operation:
        raise missing(f"projects/{project}/zones/{zone}/operations/{name}")
    if operation.value["status"] == "PENDING":
        operation.value["status"] = "RUNNING"
    return dict(operation.value)


def must(condition: Any, message: str, reason: str = "invalid", status: int = 400) -> None:
    """Refuses the request where the condition does not hold."""
    if not condition:
        raise Refused(status, reason, message)
