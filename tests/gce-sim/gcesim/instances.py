"""Instances: making, reading, and removing them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from . import catalogue, disks, lists, operations
from .operations import must
from .world import BASE, WORLD, Json, Refused, Thing, fingerprint, missing, number, stamp

Values = Mapping[str, str]
STARTING = ("PROVISIONING", "STAGING", "RUNNING")


def find(values: Values, name: str | None = None) -> Thing:
    """An instance by its name or its id."""
    project, zone = values["project"], catalogue.zone(values)
    name = name or values.get("instance") or values["resource"]
    for (in_project, in_zone, known), instance in WORLD.instances.items():
        if (in_project, in_zone) == (project, zone) and name in (known, instance.value["id"]):
            if time.monotonic() < instance.shown:
                break
            return instance
    raise missing(f"projects/{project}/zones/{zone}/instances/{name}")


def get(values: Values, _query: Values, _body: Json) -> Json:
    """One instance."""
    return dict(find(values).value)


def listed(values: Values, query: Values, _body: Json) -> Json:
    """The instances of a zone."""
    project, zone = values["project"], catalogue.zone(values)
    link = f"projects/{project}/zones/{zone}/instances"
    return lists.page(lists.shown(WORLD.instances, project, zone), query, "compute#instanceList", link)


def aggregated(values: Values, query: Values, _body: Json) -> Json:
    """The instances of all zones."""
    items = lists.shown(WORLD.instances, values["project"])
    return lists.aggregated(items, query, "compute#instanceAggregatedList", "instances", values["project"])


def type_link(values: Values, wanted: str) -> str:
    """The machine type that a request names, which the zone must have."""
    name = wanted.rsplit("/", 1)[-1]
    known = {kind["name"]: kind["selfLink"] for kind in catalogue.machine_types(values["project"], values["zone"])}
    must(
        name in known,
        f"Invalid value for field 'resource.machineType': '{wanted}'. Machine type with name '{name}' does not exist in "
        f"zone '{values['zone']}'.",
    )
    return known[name]


def insert(values: Values, query: Values, body: Json) -> Json:
    """Makes an instance with its disks."""
    project, zone = values["project"], catalogue.zone(values)
    name = body.get("name", "")
    must(name, "Invalid value for field 'resource.name': ''. Must be given.", "required")
    where = f"projects/{project}/zones/{zone}/instances/{name}"
    if (project, zone, name) in WORLD.instances:
        raise Refused(409, "alreadyExists", f"The resource '{where}' already exists")
    kind = type_link(values, body.get("machineType", ""))
    must(body.get("disks"), "Invalid value for field 'resource.disks': ''. At least one disk is needed.", "required")
    must(body.get("networkInterfaces"), "Invalid value for field 'resource.networkInterfaces': ''. At least one is needed.")
    spot = body.get("scheduling", {}).get("provisioningModel") == "SPOT"
    facts = {"zone": zone, "type": kind.rsplit("/", 1)[-1], "spot": spot}
    fault = operations.fault("compute.instances.insert", facts)
    instance = Thing(body | _given(project, zone, name, body, kind), time.monotonic())
    instance.value["disks"] = _disks(project, zone, name, body["disks"], instance.value["selfLink"])
    instance.shown = instance.made + WORLD.settings.hide
    WORLD.instances[(project, zone, name)] = instance
    instance.record = WORLD.note(
        "insert", zone=zone, name=name, id=instance.value["id"], labels=dict(body.get("labels", {})), ran=False,
        request=query.get("requestId"), failed=bool(fault),
    )  # fmt: skip
    request = query.get("requestId")
    if fault:
        # It shows for a moment, and is gone with its disks when the operation ends.
        instance.value["status"] = "PROVISIONING"
        undo = partial(vanish, instance, all_disks=True)
        return operations.begin(project, zone, "insert", instance.value, request, undo, fault=fault)
    ends = WORLD.plan(instance, *STARTING)
    return operations.begin(project, zone, "insert", instance.value, request, ends=ends)


def _given(project: str, zone: str, name: str, body: Json, kind: str) -> Json:
    """What Google adds to what was asked for."""
    where = f"{BASE}projects/{project}/zones/{zone}"
    cards = [
        card | {"name": f"nic{index}", "networkIP": f"10.132.{len(WORLD.instances) // 250}.{len(WORLD.instances) % 250 + 2}"}
        for index, card in enumerate(body["networkInterfaces"])
    ]
    return {
        "kind": "compute#instance", "id": number(), "creationTimestamp": stamp(), "zone": where, "machineType": kind,
        "selfLink": f"{where}/instances/{name}", "status": "PROVISIONING", "cpuPlatform": "Unknown CPU Platform",
        "labelFingerprint": fingerprint([body.get("labels", {}), number()]), "fingerprint": fingerprint(number()),
        "lastStartTimestamp": stamp(), "deletionProtection": body.get("deletionProtection", False),
        "networkInterfaces": cards, "startRestricted": False,
    }  # fmt: skip


def _disks(project: str, zone: str, instance: str, wanted: list[Json], user: str) -> list[Json]:
    made: list[Json] = []
    try:
        for index, disk in enumerate(wanted):
            made.append(_disk(project, zone, instance, disk, user, index))
    except Refused:
        for disk in made:
            WORLD.disks.pop((project, zone, disk["source"].rsplit("/", 1)[-1]), None)
        raise
    return made


def _disk(project: str, zone: str, instance: str, wanted: Json, user: str, index: int) -> Json:
    new: Json = wanted.get("initializeParams", {})
    size = new.get("diskSizeGb") or wanted.get("diskSizeGb")
    if "source" in wanted:
        disk = disks.find({"project": project, "zone": zone}, wanted["source"].rsplit("/", 1)[-1])
    else:
        fallback = instance if wanted.get("boot") else f"{instance}-{index}"
        disk = disks.make(project, zone, new.get("diskName", fallback), int(size) if size else None, new)
    return attached(disk, wanted, user, index)


def attached(disk: Thing, wanted: Json, user: str, index: int) -> Json:
    """A disk as its instance shows it."""
    disks.must_be_free(disk)
    disk.value["users"] = [user]
    return {
        "kind": "compute#attachedDisk", "type": "PERSISTENT", "mode": "READ_WRITE", "source": disk.value["selfLink"],
        "deviceName": wanted.get("deviceName", f"persistent-disk-{index}"), "index": index, "boot": wanted.get("boot", False),
        "autoDelete": wanted.get("autoDelete", False), "interface": "SCSI", "diskSizeGb": disk.value["sizeGb"],
    }  # fmt: skip


def delete(values: Values, query: Values, _body: Json) -> Json:
    """Removes an instance with those disks that go along."""
    instance = find(values)
    must(
        not instance.value["deletionProtection"],
        f"Invalid resource usage: 'Resource cannot be deleted if it's protected against deletion. Id: {instance.value['id']}'.",
        "invalidResourceUsage",
    )
    fault = operations.fault("compute.instances.delete", {"zone": values["zone"]})
    ends = WORLD.plan(instance, "STOPPING") + WORLD.settings.step
    apply = (lambda: None) if fault else (lambda: vanish(instance))
    request = query.get("requestId")
    return operations.begin(values["project"], values["zone"], "delete", instance.value, request, apply, ends, fault)


def vanish(instance: Thing, all_disks: bool = False) -> None:
    """The instance is not there any more."""
    value: Any = instance.value
    project, zone = value["selfLink"].removeprefix(f"{BASE}projects/").split("/zones/")
    where = (project, zone.split("/", 1)[0])
    if WORLD.instances.get((*where, value["name"])) is not instance:
        return
    del WORLD.instances[(*where, value["name"])]
    for disk in value["disks"]:
        name = disk["source"].rsplit("/", 1)[-1]
        if disk["autoDelete"] or all_disks:
            WORLD.disks.pop((*where, name), None)
        elif (*where, name) in WORLD.disks:
            WORLD.disks[(*where, name)].value["users"] = []
