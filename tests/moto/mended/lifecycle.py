"""Instance states that take time, and the transitions that EC2 refuses.

A transition is put down when it is asked for and carried out when it is due, before the next request is served
(`Lifecycle.settle`): there is no thread that could race with a request.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from moto.backends import get_backend
from moto.core.responses import ActionResult
from moto.ec2.models.instances import Instance, InstanceBackend, InstanceState, StateReason
from moto.ec2.responses.instances import InstanceResponse

from .errors import Refused
from .world import WORLD

PENDING, RUNNING = ("pending", 0), ("running", 16)
SHUTTING_DOWN, TERMINATED = ("shutting-down", 32), ("terminated", 48)
STOPPING, STOPPED = ("stopping", 64), ("stopped", 80)
GONE = ("forgotten", -1)

State = tuple[str, int]


@dataclass
class Due:
    """A transition that will happen unless another replaces it."""

    at: float
    instance: Instance
    to: State
    act: Callable[[Instance], Any] | None


class Lifecycle:
    """The transitions that are not due yet. Guarded by WORLD.lock."""

    def __init__(self) -> None:
        self._due: list[Due] = []

    def begin(self, instance: Instance, now: State, then: State, act: Callable[[Instance], Any] | None = None) -> None:
        """Puts an instance into a passing state; `act` is what moto does at the end of it."""
        self._due = [due for due in self._due if due.instance is not instance]
        began = time.time()
        self._enter(instance, now, began)
        self._due.append(Due(began + WORLD.settings.delay, instance, then, act))

    def hold(self, instance: Instance, now: State) -> None:
        """Puts an instance into a passing state that does not pass by itself."""
        self._due = [due for due in self._due if due.instance is not instance]
        self._enter(instance, now, time.time())

    def settle(self) -> None:
        """Carries out what is due by now, in order."""
        now = time.time()
        while ready := [due for due in self._due if due.at <= now]:
            due = min(ready, key=lambda each: each.at)
            self._due.remove(due)
            with WORLD.changing():
                self._carry_out(due)

    def _carry_out(self, due: Due) -> None:
        if due.to == GONE:
            forget(due.instance)
            return
        if due.act:
            due.act(due.instance)
        self._enter(due.instance, due.to, due.at)
        if due.to == TERMINATED:
            self._due.append(Due(due.at + WORLD.settings.forget, due.instance, GONE, None))

    def clear(self) -> None:
        """Drops all transitions."""
        self._due.clear()

    def _enter(self, instance: Instance, state: State, at: float) -> None:
        before = getattr(instance, "journalled", None)
        instance._state = InstanceState(*state)
        instance.journalled = state[0]  # type: ignore[attr-defined]
        WORLD.journal.note("state", at=at, instance=instance.id, state=state[0], before=before)


LIFECYCLE = Lifecycle()

_force: ContextVar[bool] = ContextVar("force")

_moto_start, _moto_stop = Instance.start, Instance.stop
_moto_terminate, _moto_reboot = Instance.terminate, Instance.reboot
_moto_modify = InstanceBackend.modify_instance_attribute


def forget(instance: Instance) -> None:
    """A terminated instance disappears from the account."""
    for key, reservation in list(instance.ec2_backend.reservations.items()):
        if instance in reservation.instances:
            reservation.instances.remove(instance)
            if not reservation.instances:
                del instance.ec2_backend.reservations[key]


def _refuse(instance: Instance, verb: str) -> Refused:
    return Refused(
        "IncorrectInstanceState", f"The instance '{instance.id}' is not in a state from which it can be {verb}."
    )


def _start(self: Instance) -> InstanceState:
    before = copy.copy(self._state)
    if self.state in ("stopping", "shutting-down", "terminated"):
        raise _refuse(self, "started")
    if self.state == "stopped":
        _moto_start(self)
        LIFECYCLE.begin(self, PENDING, RUNNING)
    return before


def _stop(self: Instance) -> InstanceState:
    before = copy.copy(self._state)
    if self.state in ("pending", "shutting-down", "terminated"):
        raise _refuse(self, "stopped")
    if self.lifecycle == "spot":
        raise Refused("UnsupportedOperation", f"You can't stop the Spot Instance '{self.id}' of a one-time request.")
    deaf = self.id in WORLD.deaf and not _force.get(False)
    if self.state == "running" or (self.state == "stopping" and not deaf):
        if deaf:
            LIFECYCLE.hold(self, STOPPING)
        else:
            LIFECYCLE.begin(self, STOPPING, STOPPED, _moto_stop)
    return before


def interrupt(instance_id: str) -> None:
    """EC2 takes a spot instance back."""
    with WORLD.lock:
        for regions in get_backend("ec2").values():
            for backend in regions.values():
                for reservation in backend.reservations.values():
                    for instance in reservation.instances:
                        if instance.id == instance_id:
                            LIFECYCLE.begin(instance, SHUTTING_DOWN, TERMINATED, _taken_back)
                            _say(instance)


def _taken_back(instance: Instance) -> None:
    _moto_terminate(instance)
    _say(instance)


def _say(instance: Instance) -> None:
    at = time.strftime("%Y-%m-%d %H:%M:%S GMT", time.gmtime())
    instance._reason = f"Server initiated ({at})"
    text = "Server.SpotInstanceTermination: Spot instance termination"
    instance.state_reason = StateReason(text, "Server.SpotInstanceTermination")


def _terminate(self: Instance) -> InstanceState:
    before = copy.copy(self._state)
    if self.state not in ("shutting-down", "terminated"):
        # moto's part deletes the volumes: with EC2 too they go when the instance is terminated, not before.
        LIFECYCLE.begin(self, SHUTTING_DOWN, TERMINATED, _moto_terminate)
    return before


def _reboot(self: Instance) -> None:
    if self.state not in ("pending", "running"):
        raise _refuse(self, "rebooted")
    if self.state == "running":
        _moto_reboot(self)


def _modify(self: InstanceBackend, instance_id: str, key: str, value: Any) -> Instance:
    instance = self.get_instance(instance_id)
    if key in ("instance_type", "user_data", "kernel", "ramdisk", "ebs_optimized") and instance.state != "stopped":
        raise Refused("IncorrectInstanceState", f"The instance '{instance_id}' is not in the 'stopped' state.")
    return _moto_modify(self, instance_id, key, value)


def _asked(original: Callable[[InstanceResponse], ActionResult]) -> Callable[[InstanceResponse], ActionResult]:
    """StopInstances with its `Force`, which moto does not pass on."""

    def answer(self: InstanceResponse) -> ActionResult:
        forced = _force.set(bool(self._get_bool_param("Force", False)))
        try:
            return original(self)
        finally:
            _force.reset(forced)

    return answer


def _current(action: str, key: str) -> Callable[[InstanceResponse], ActionResult]:
    """moto answers with a fixed current state, also where the call changed nothing: answer with the true one."""
    original = getattr(InstanceResponse, action)

    def answer(self: InstanceResponse) -> ActionResult:
        answered: ActionResult = original(self)
        changes: list[dict[str, Any]] = answered.result[key]  # type: ignore[index]
        for change in changes:
            instance = self.ec2_backend.get_instance(change["InstanceId"])
            change["CurrentState"] = {"Code": instance.state_code, "Name": instance.state}
        return answered

    return answer


def install() -> None:
    """Replaces moto's transitions."""
    Instance.start, Instance.stop = _start, _stop  # type: ignore[method-assign]
    Instance.terminate, Instance.reboot = _terminate, _reboot  # type: ignore[method-assign]
    InstanceBackend.modify_instance_attribute = _modify  # type: ignore[method-assign]
    for action, key in (
        ("start_instances", "StartingInstances"),
        ("stop_instances", "StoppingInstances"),
        ("terminate_instances", "TerminatingInstances"),
    ):
        setattr(InstanceResponse, action, _current(action, key))
    InstanceResponse.stop_instances = _asked(InstanceResponse.stop_instances)  # type: ignore[method-assign]
