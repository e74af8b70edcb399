"""Which instances Describe knows: a fresh one perhaps not yet; and the filters moto leaves out.

https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
"""

from __future__ import annotations

import time
from typing import Any

import moto.ec2.utils as moto_utils
from moto.ec2.models.instances import Instance, InstanceBackend, Reservation

from .world import WORLD

_moto_all = InstanceBackend.all_reservations

# EC2's name of a filter to the attribute of moto's Instance.
_FILTERS = {"client-token": "client_token", "instance-lifecycle": "lifecycle", "tenancy": "placement.tenancy"}


def hide(instance: Instance) -> None:
    """Makes a fresh instance unknown to other calls for as long as the settings say."""
    instance.shown_from = time.time() + WORLD.settings.hide  # type: ignore[attr-defined]


def _all_reservations(self: InstanceBackend, filters: Any = None) -> list[Reservation]:
    now = time.time()
    shown = []
    for reservation in _moto_all(self):
        reservation.instances = [each for each in reservation.instances if getattr(each, "shown_from", 0.0) <= now]
        if reservation.instances:
            shown.append(reservation)
    return moto_utils.filter_reservations(shown, filters) if filters is not None else shown


def install() -> None:
    """Replaces moto's list of instances, and adds filters."""
    InstanceBackend.all_reservations = _all_reservations  # type: ignore[method-assign]
    moto_utils.filter_dict_attribute_mapping.update(_FILTERS)
