"""RunInstances: client tokens, counts, the subnet and the root volume EC2 adds."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import InvalidInstanceTypeError
from moto.ec2.models.instances import InstanceBackend, Reservation
from moto.ec2.responses._base_response import EC2BaseResponse
from moto.ec2.responses.instances import InstanceResponse

from .errors import Injected, Refused
from .lifecycle import LIFECYCLE, PENDING, RUNNING
from .tokens import Claim, fingerprint
from .visibility import hide
from .world import WORLD

# moto's own value for a request without a token.
_NO_TOKEN = "ABCDE"

_moto_answer = InstanceResponse.run_instances
_moto_run = InstanceBackend.run_instances
_moto_mappings = InstanceResponse._parse_block_device_mapping

# The size of the images' root volumes, GiB.
ROOT_SIZE = 8

# What the answer's side of a request knows and moto does not pass on to the model's side.
_count: ContextVar[int] = ContextVar("count")
_asked: ContextVar[str] = ContextVar("asked")
_protected: ContextVar[bool] = ContextVar("protected")
_form: ContextVar[dict[str, str]] = ContextVar("form")


def _answer(self: InstanceResponse) -> ActionResult:
    low = int(self._get_param("MinCount", 1))
    high = int(self._get_param("MaxCount", low))
    if not 1 <= low <= high:
        raise Refused("InvalidParameterValue", f"MinCount {low} is not between 1 and MaxCount, {high}.")
    form = {name: values[0] for name, values in self.querystring.items()}
    counted, asked = _count.set(high), _asked.set(fingerprint(form))
    protected = _protected.set(form.get("DisableApiTermination") == "true")
    sent = _form.set(form)
    try:
        return _moto_answer(self)
    finally:
        _form.reset(sent)
        _protected.reset(protected)
        _count.reset(counted)
        _asked.reset(asked)


def _run(
    self: InstanceBackend,
    image_id: str,
    count: int,
    user_data: Any,
    security_group_names: list[str],
    **kwargs: Any,
) -> Reservation:
    token = kwargs.get("client_token")
    token = kwargs["client_token"] = "" if token in (None, _NO_TOKEN) else token
    claim = Claim("")  # of its own, where the request has no token
    if token:
        claim = WORLD.tokens.claim(self.account_id, self.region_name, token, _asked.get(""))  # type: ignore[attr-defined]
    repeated = claim.reservation is not None
    if fault := None if repeated else WORLD.faults.take("RunInstances", _form.get({}), capacity=True):
        WORLD.journal.note("fault", action="RunInstances", error=fault.error, token=token)
        raise Injected(str(fault.error), fault.message)
    if not repeated:
        _complete(self, image_id, kwargs)
        number = _count.get(count)
        kwargs |= {"image_id": image_id, "count": number, "user_data": user_data}
        claim.settle(_launch(self, kwargs | {"security_group_names": security_group_names}))
    WORLD.journal.note(
        "RunInstances",
        token=token,
        repeated=repeated,
        instances=[instance.id for instance in claim.instances],
        instanceType=kwargs.get("instance_type"),
        image=image_id,
    )
    launched: Reservation = claim.reservation
    return launched


def _launch(backend: Any, asked: dict[str, Any]) -> Reservation:
    known = set(backend.reservations)
    try:
        reservation = _moto_run(backend, **asked)
    except InvalidInstanceTypeError as error:
        _forget_half_made(backend, known)
        text = f"Invalid value '{asked['instance_type']}' for InstanceType."
        raise Refused("InvalidParameterValue", text) from error
    except BaseException:
        _forget_half_made(backend, known)
        raise
    for instance in reservation.instances:
        instance.disable_api_termination = _protected.get(False)
        if asked.get("instance_market_options") == "spot":
            instance.lifecycle = "spot"
        LIFECYCLE.begin(instance, PENDING, RUNNING)
        hide(instance)
    return reservation


def _forget_half_made(backend: Any, known: set[str]) -> None:
    """moto files the reservation before it makes the instances."""
    for reservation in set(backend.reservations) - known:
        del backend.reservations[reservation]


def _complete(backend: Any, image_id: str, kwargs: dict[str, Any]) -> None:
    """What EC2 adds to a request: a default subnet, and the image's root volume beside the volumes asked for."""
    if not kwargs.get("subnet_id") and not kwargs.get("nics"):
        zone = kwargs.get("placement") or f"{backend.region_name}a"
        if subnet := backend.get_default_subnets().get(zone):
            kwargs["subnet_id"] = subnet.id
    mappings = kwargs.get("block_device_mappings")
    root = _root_device(backend, image_id)
    if mappings and root not in [mapping["DeviceName"] for mapping in mappings]:
        mappings.insert(0, {"DeviceName": root, "Ebs": {"VolumeSize": ROOT_SIZE, "DeleteOnTermination": True}})


def _root_device(backend: Any, image_id: str) -> str:
    images = backend.describe_images(filters={"image-id": [image_id]})
    return images[0].root_device_name if images and images[0].root_device_name else "/dev/sda1"


def _mappings(self: InstanceResponse) -> list[dict[str, Any]]:
    """The image says what the request leaves open of the root volume: its size, and that it goes with the instance."""
    root = _root_device(self.ec2_backend, self._get_param("ImageId"))
    requested = self._get_param("BlockDeviceMappings", [])
    for asked in requested:
        if asked.get("DeviceName") == root and not {"SnapshotId", "VolumeSize"} & set(asked.get("Ebs", {})):
            asked.setdefault("Ebs", {})["VolumeSize"] = ROOT_SIZE
    parsed = _moto_mappings(self)
    for mapping, asked in zip(parsed, requested, strict=True):
        if asked.get("DeviceName") == root and asked.get("Ebs", {}).get("DeleteOnTermination") is None:
            mapping["Ebs"]["DeleteOnTermination"] = True
    return parsed


def install() -> None:
    """Replaces moto's RunInstances."""
    InstanceResponse.run_instances = _answer  # type: ignore[method-assign]
    InstanceResponse._parse_block_device_mapping = _mappings  # type: ignore[method-assign]
    InstanceBackend.run_instances = _run  # type: ignore[method-assign]
    # moto answers `pending` whatever the state; a repeated request sees the state as it is.
    EC2BaseResponse.RESPONSE_KEY_PATH_TO_TRANSFORMER.pop("RunInstances.Reservation.Instances.Instance.State", None)
