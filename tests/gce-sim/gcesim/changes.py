"""Changes of an instance that is there: its state, its labels, its type, its disks."""

from __future__ import annotations


from . import disks, operations
from .instances import STARTING, Values, attached, find, type_link
from .operations import must
from .world import WORLD, Json, Thing, stamp

_STATES = {
    "stop": (("RUNNING", "STAGING", "PROVISIONING", "SUSPENDED"), ("STOPPING", "TERMINATED"), "TERMINATED"),
    "start": (("TERMINATED",), STARTING, "RUNNING"),
    "suspend": (("RUNNING",), ("SUSPENDING", "SUSPENDED"), "SUSPENDED"),
    "resume": (("SUSPENDED",), STARTING, "RUNNING"),
}


def power(kind: str, values: Values, query: Values) -> Json:
    """Stops, starts, suspends or resumes."""
    instance = find(values)
    allowed, states, end = _STATES[kind]
    status = instance.value["status"]
    fault = operations.fault(f"compute.instances.{kind}", {"zone": values["zone"]})
    request = query.get("requestId")
    if status == end or (kind == "stop" and status == "STOPPING"):
        return operations.begin(values["project"], values["zone"], kind, instance.value, request)
    must(
        status in allowed,
        f"The resource '{values['instance']}' is not ready: instance is in state {status}, which {kind} does not start from",
        "resourceNotReady",
    )
    if fault:
        return operations.begin(values["project"], values["zone"], kind, instance.value, request, fault=fault)
    ends = WORLD.plan(instance, *states)
    WORLD.note(kind, zone=values["zone"], name=instance.value["name"])
    if kind in ("start", "resume"):
        instance.value["lastStartTimestamp"] = stamp()
    return operations.begin(values["project"], values["zone"], kind, instance.value, request, ends=ends)


def preempt(instance: Thing) -> None:
    """Google takes a spot instance back: it stops, or goes, as it was asked for."""
    WORLD.plan(instance, "STOPPING", "TERMINATED")
    project = instance.value["selfLink"].split("/projects/")[1].split("/")[0]
    zone = instance.value["zone"].rsplit("/", 1)[-1]
    operations.begin(project, zone, "compute.instances.preempted", instance.value, None)


def set_labels(values: Values, query: Values, body: Json) -> Json:
    """New labels in place of the old."""
    instance = find(values)
    disks.relabel(instance, body)
    return operations.begin(values["project"], values["zone"], "setLabels", instance.value, query.get("requestId"))


def set_machine_type(values: Values, query: Values, body: Json) -> Json:
    """Another type, while it is off."""
    instance = find(values)
    off = instance.value["status"] == "TERMINATED"
    must(off, "Invalid value for field 'resource.machineType': instance must be stopped.")
    kind = type_link(values, body.get("machineType", ""))

    def apply() -> None:
        instance.value["machineType"] = kind

    return operations.begin(values["project"], values["zone"], "setMachineType", instance.value, query.get("requestId"), apply)


def set_deletion_protection(values: Values, query: Values, _body: Json) -> Json:
    """Whether it may be deleted."""
    instance = find(values)
    instance.value["deletionProtection"] = query.get("deletionProtection", "true") == "true"
    return operations.begin(values["project"], values["zone"], "setDeletionProtection", instance.value, query.get("requestId"))


def attach_disk(values: Values, query: Values, body: Json) -> Json:
    """One more disk."""
    instance = find(values)
    disk = disks.find(values, body.get("source", "").rsplit("/", 1)[-1])
    taken = {one["deviceName"] for one in instance.value["disks"]}
    name = body.get("deviceName", f"persistent-disk-{len(taken)}")
    must(name not in taken, f"Invalid value for field 'resource.deviceName': '{name}'. It is already in use.")
    index = 1 + max(one["index"] for one in instance.value["disks"])
    instance.value["disks"].append(attached(disk, body, instance.value["selfLink"], index))
    disk.value["lastAttachTimestamp"] = stamp()
    return operations.begin(values["project"], values["zone"], "attachDisk", instance.value, query.get("requestId"))


def set_disk_auto_delete(values: Values, query: Values, _body: Json) -> Json:
    """Whether a disk goes with its instance."""
    instance = find(values)
    found = [one for one in instance.value["disks"] if one["deviceName"] == query.get("deviceName")]
    must(found, f"Invalid value for field 'deviceName': '{query.get('deviceName')}'.")
    found[0]["autoDelete"] = query.get("autoDelete") == "true"
    return operations.begin(values["project"], values["zone"], "setDiskAutoDelete", instance.value, query.get("requestId"))


def test_permissions(values: Values, _query: Values, body: Json) -> Json:
    """Which of these permissions the caller has."""
    find(values)
    return {"permissions": [name for name in body.get("permissions", []) if name not in WORLD.denied]}
