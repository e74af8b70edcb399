"""Disks: with an instance, and alone."""

from __future__ import annotations

import time
from collections.abc import Mapping

from . import catalogue, lists, operations
from .operations import must
from .world import BASE, WORLD, Json, Refused, Thing, fingerprint, missing, number, stamp

Values = Mapping[str, str]


def make(project: str, zone: str, name: str, size: int | None, wanted: Json) -> Thing:
    """A new disk. `wanted` is a Disk or the initializeParams of an AttachedDisk."""
    where = f"projects/{project}/zones/{zone}"
    if (project, zone, name) in WORLD.disks:
        raise Refused(409, "alreadyExists", f"The resource '{where}/disks/{name}' already exists")
    value: Json = {
        "kind": "compute#disk", "id": number(), "name": name, "zone": BASE + where, "status": "READY",
        "selfLink": f"{BASE}{where}/disks/{name}", "creationTimestamp": stamp(), "physicalBlockSizeBytes": "4096",
        "type": wanted.get("diskType") or wanted.get("type") or f"{BASE}{where}/diskTypes/pd-standard",
        "labels": dict(wanted.get("labels", {})),
    }  # fmt: skip
    if source := wanted.get("sourceImage"):
        image = catalogue.image(source)
        least = int(image["diskSizeGb"])
        must(
            size is None or size >= least,
            f"Invalid value for field 'resource.sizeGb': '{size}'. Requested disk size cannot be smaller than the image "
            f"size ({least} GB)",
        )
        value |= {"sourceImage": image["selfLink"], "sourceImageId": image["id"]}
        size = size or least
    must(size, "Invalid value for field 'resource.sizeGb': a size or a source is needed")
    value["sizeGb"] = str(size)
    value["labelFingerprint"] = fingerprint(value["labels"])
    disk = Thing(value, time.monotonic())
    WORLD.disks[(project, zone, name)] = disk
    return disk


def find(values: Values, name: str) -> Thing:
    """A disk by its name or its id."""
    project, zone = values["project"], catalogue.zone(values)
    for (in_project, in_zone, known), disk in WORLD.disks.items():
        if (in_project, in_zone) == (project, zone) and name in (known, disk.value["id"]):
            return disk
    raise missing(f"projects/{project}/zones/{zone}/disks/{name}")


def insert(values: Values, query: Values, body: Json) -> Json:
    """A disk without an instance."""
    zone = catalogue.zone(values)
    size = int(body["sizeGb"]) if "sizeGb" in body else None
    disk = make(values["project"], zone, body.get("name", ""), size, body)
    WORLD.note("disk", zone=zone, name=disk.value["name"])
    return operations.begin(values["project"], zone, "insert", disk.value, query.get("requestId"))


def get(values: Values, _query: Values, _body: Json) -> Json:
    """One disk."""
    return dict(find(values, values["disk"]).value)


def listed(values: Values, query: Values, _body: Json) -> Json:
    """The disks of a zone."""
    project, zone = values["project"], catalogue.zone(values)
    link = f"projects/{project}/zones/{zone}/disks"
    return lists.page(lists.shown(WORLD.disks, project, zone), query, "compute#diskList", link)


def aggregated(values: Values, query: Values, _body: Json) -> Json:
    """The disks of all zones."""
    items = lists.shown(WORLD.disks, values["project"])
    return lists.aggregated(items, query, "compute#diskAggregatedList", "disks", values["project"])


def resize(values: Values, query: Values, body: Json) -> Json:
    """Makes a disk larger."""
    disk, size = find(values, values["disk"]), int(body.get("sizeGb", 0))
    have = int(disk.value["sizeGb"])
    must(
        size > have,
        f"Invalid value for field 'sizeGb': '{size}'. New disk size '{size}' must be larger than existing size '{have}'.",
    )

    def apply() -> None:
        disk.value["sizeGb"] = str(size)
        for instance in WORLD.instances.values():
            for attached in instance.value["disks"]:
                if attached["source"] == disk.value["selfLink"]:
                    attached["diskSizeGb"] = str(size)

    return operations.begin(values["project"], values["zone"], "resizeDisk", disk.value, query.get("requestId"), apply)


def set_labels(values: Values, query: Values, body: Json) -> Json:
    """New labels in place of the old."""
    disk = find(values, values["resource"])
    relabel(disk, body)
    return operations.begin(values["project"], values["zone"], "setLabels", disk.value, query.get("requestId"))


def relabel(thing: Thing, body: Json) -> None:
    """Sets labels, if the request is about those that are there."""
    if body.get("labelFingerprint") != thing.value["labelFingerprint"]:
        raise Refused(412, "conditionNotMet", "Labels fingerprint either invalid or resource labels have changed")
    thing.value["labels"] = dict(body.get("labels", {}))
    thing.value["labelFingerprint"] = fingerprint([thing.value["labels"], number()])


def delete(values: Values, query: Values, _body: Json) -> Json:
    """Removes a disk that nobody uses."""
    disk = find(values, values["disk"])
    must_be_free(disk)

    def apply() -> None:
        WORLD.disks.pop((values["project"], values["zone"], disk.value["name"]), None)

    return operations.begin(values["project"], values["zone"], "delete", disk.value, query.get("requestId"), apply)


def must_be_free(disk: Thing) -> None:
    """Refuses the request where an instance has the disk."""
    for user in disk.value.get("users", []):
        links = (disk.value["selfLink"].removeprefix(BASE), user.removeprefix(BASE))
        words = f"The disk resource '{links[0]}' is already being used by '{links[1]}'"
        raise Refused(400, "resourceInUseByAnotherResource", words)
