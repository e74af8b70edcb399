"""Volumes: client tokens, states that take time, zones, and how seldom one may be changed.

https://docs.aws.amazon.com/ebs/latest/userguide/modify-volume-requirements.html
"""

from __future__ import annotations

import time
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.models.elastic_block_store import EBSBackend, Volume
from moto.ec2.responses.elastic_block_store import ElasticBlockStore

from .errors import Refused
from .tokens import fingerprint
from .world import WORLD

_moto_create = ElasticBlockStore.create_volume
_moto_attach = EBSBackend.attach_volume
_moto_modify = EBSBackend.modify_volume
_moto_status = Volume.status


def _create(self: ElasticBlockStore) -> ActionResult:
    token = self._get_param("ClientToken")
    if not token or self._get_param("DryRun", False):
        return _moto_create(self)
    form = {name: values[0] for name, values in self.querystring.items()}
    claim = WORLD.tokens.claim(self.current_account, self.region, f"volume {token}", fingerprint(form))
    repeated = claim.reservation is not None
    if not repeated:
        answer = _moto_create(self)
        volume: Any = answer.result
        volume.ready_from = time.time() + WORLD.settings.delay
        claim.reservation = volume
    WORLD.journal.note("CreateVolume", token=token, repeated=repeated, volume=claim.reservation.id)
    return ActionResult(claim.reservation)


def _status(self: Volume) -> str:
    if getattr(self, "ready_from", 0.0) > time.time():
        return "creating"
    return str(_moto_status.fget(self))  # type: ignore[attr-defined]


def _attach(self: Any, volume_id: str, instance_id: str, device_path: str, delete_on_termination: bool = False) -> Any:
    volume, instance = self.get_volume(volume_id), self.get_instance(instance_id)
    # RunInstances attaches what it has just made, in one go.
    if volume.status == "in-use":
        raise Refused("VolumeInUse", f"{volume_id} is already attached to an instance")
    if volume.status != "available":
        raise Refused("IncorrectState", f"{volume_id} is not 'available'.")
    if volume.zone and volume.zone.name != instance.placement.zone:
        raise Refused("InvalidVolume.ZoneMismatch", f"The volume '{volume_id}' is not in the instance's zone.")
    if device_path in instance.block_device_mapping:
        raise Refused("InvalidParameterValue", f"Invalid value '{device_path}' for unixDevice. It is already in use")
    return _moto_attach(self, volume_id, instance_id, device_path, delete_on_termination)


def _modify(self: Any, volume_id: str, target_size: int | None = None, *rest: Any) -> Any:
    volume = self.get_volume(volume_id)
    if target_size is not None and target_size < volume.size:
        raise Refused("InvalidParameterValue", "New size cannot be smaller than existing size")
    now = time.time()
    if now - getattr(volume, "modified_at", float("-inf")) < WORLD.settings.cooldown:
        text = "You've reached the maximum modification rate per volume limit. Wait at least 6 hours between changes."
        raise Refused("VolumeModificationRateExceeded", text)
    volume.modified_at = now
    answer = _moto_modify(self, volume_id, target_size, *rest)
    for mapped in volume.attachments:
        mapped.instance.block_device_mapping[mapped.device].size = volume.size
    return answer


def install() -> None:
    """Replaces moto's volumes."""
    ElasticBlockStore.create_volume = _create  # type: ignore[method-assign]
    EBSBackend.attach_volume = _attach  # type: ignore[method-assign]
    EBSBackend.modify_volume = _modify  # type: ignore[method-assign]
    Volume.status = property(_status)  # type: ignore[method-assign, assignment]
