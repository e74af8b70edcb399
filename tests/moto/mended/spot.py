"""Spot requests of instances that RunInstances has launched, with the status that tells two minutes before EC2 takes one back.

moto knows requests of RequestSpotInstances only.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-request-status.html
"""

from __future__ import annotations

import time
from typing import Any

from moto.backends import get_backend
from moto.core.responses import ActionResult
from moto.ec2.models.instances import Instance
from moto.ec2.responses.spot_instances import SpotInstances

from .errors import Refused
from .world import WORLD

_FULFILLED = ("active", "fulfilled", "Your spot request is fulfilled.")
_MARKED = ("active", "marked-for-termination", "Your Spot Instance is marked for termination.")
_TAKEN = ("closed", "instance-terminated-no-capacity", "Your Spot instance was terminated: there is no capacity.")
_BY_USER = ("closed", "instance-terminated-by-user", "Your Spot Instance was terminated by the user.")


def warn(instance_id: str) -> None:
    """EC2 says that it is about to take a spot instance back, as it does two minutes before."""
    with WORLD.lock:
        for regions in get_backend("ec2").values():
            for backend in regions.values():
                for each in _spot(backend):
                    if each.id == instance_id:
                        each.marked_at = time.time()  # type: ignore[attr-defined]


def _spot(backend: Any) -> list[Instance]:
    reservations = list(backend.reservations.values())
    return [each for reservation in reservations for each in reservation.instances if each.lifecycle == "spot"]


def _status(instance: Instance) -> tuple[str, str, str]:
    if instance.state in ("shutting-down", "terminated"):
        taken = getattr(instance.state_reason, "code", "") == "Server.SpotInstanceTermination"
        return _TAKEN if taken else _BY_USER
    return _MARKED if hasattr(instance, "marked_at") else _FULFILLED


def _request(instance: Instance) -> dict[str, Any]:
    state, code, message = _status(instance)
    at = getattr(instance, "marked_at", time.time())
    updated = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(at))
    return {
        "SpotInstanceRequestId": f"sir-{instance.id.removeprefix('i-')[:8]}",
        "InstanceId": instance.id,
        "State": state,
        "Status": {"Code": code, "Message": message, "UpdateTime": updated},
        "Type": "one-time",
        "InstanceInterruptionBehavior": "terminate",
    }


def _describe(self: SpotInstances) -> ActionResult:
    self.error_on_dryrun()
    requests = [_request(each) for each in _spot(self.ec2_backend)]
    asked = {
        "state": lambda each: each["State"],
        "status-code": lambda each: each["Status"]["Code"],
        "instance-id": lambda each: each["InstanceId"],
    }
    for name, values in self._filters_from_querystring().items():
        if name not in asked:
            raise Refused("InvalidParameterValue", f"The filter '{name}' is invalid.")
        requests = [each for each in requests if asked[name](each) in values]
    start, most = int(self._get_param("NextToken") or 0), int(self._get_param("MaxResults") or 1000)
    result: dict[str, Any] = {"SpotInstanceRequests": requests[start : start + most]}
    if start + most < len(requests):
        result["NextToken"] = str(start + most)
    return ActionResult(result)


def install() -> None:
    """Replaces moto's list of spot requests."""
    SpotInstances.describe_spot_instance_requests = _describe  # type: ignore[method-assign]
