"""Which instances Describe knows: a fresh one perhaps not yet; and the filters moto leaves out.

https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
"""

from __future__ import annotations

import fnmatch
import time
from typing import Any

import moto.ec2.utils as moto_utils
from moto.ec2.models.instance_types import InstanceTypeOfferingBackend
from moto.ec2.models.instances import Instance, InstanceBackend, Reservation
from moto.ec2.models.spot_requests import SpotRequestBackend

from .world import WORLD

_moto_all = InstanceBackend.all_reservations
_moto_offered = InstanceTypeOfferingBackend.matches_filters
_moto_spot_prices = SpotRequestBackend.describe_spot_price_history

# EC2's name of a filter to the attribute of moto's Instance.
_FILTERS = {"client-token": "client_token", "instance-lifecycle": "lifecycle", "tenancy": "placement.tenancy"}


def hide(instance: Instance) -> None:
    """Makes a fresh instance unknown to other calls for as long as the settings say."""
    instance.shown_from = time.time() + WORLD.settings.hide  # type: ignore[attr-defined]
    WORLD.hidden_until = max(WORLD.hidden_until, instance.shown_from)  # type: ignore[attr-defined]


def _all_reservations(self: InstanceBackend, filters: Any = None) -> list[Reservation]:
    now = time.time()
    shown = []
    for reservation in _moto_all(self):
        reservation.instances = [each for each in reservation.instances if getattr(each, "shown_from", 0.0) <= now]
        if reservation.instances:
            shown.append(reservation)
    return moto_utils.filter_reservations(shown, filters) if filters is not None else shown


def _offered(self: Any, offering: dict[str, Any], filters: Any, location_type: str) -> bool:
    """moto knows no wildcards here."""
    filters = dict(filters)
    patterns = filters.pop("instance-type", ["*"])
    # moto itself asks for one type, not for a list.
    patterns = [patterns] if isinstance(patterns, str) else patterns
    known = any(fnmatch.fnmatchcase(offering["InstanceType"], pattern) for pattern in patterns)
    return known and bool(_moto_offered(self, offering, filters, location_type))


def _spot_prices(self: Any, instance_types: list[str] | None = None, filters: Any = None) -> list[Any]:
    filters = dict(filters or {})
    filters.pop("product-description", None)
    patterns = filters.pop("instance-type", ["*"])
    offered = _moto_spot_prices(self, instance_types, filters)
    return [one for one in offered if any(fnmatch.fnmatchcase(one["InstanceType"], each) for each in patterns)]


def install() -> None:
    """Replaces moto's list of instances, and adds filters."""
    InstanceTypeOfferingBackend.matches_filters = _offered  # type: ignore[method-assign]
    SpotRequestBackend.describe_spot_price_history = _spot_prices  # type: ignore[method-assign]
    InstanceBackend.all_reservations = _all_reservations  # type: ignore[method-assign]
    moto_utils.filter_dict_attribute_mapping.update(_FILTERS)
