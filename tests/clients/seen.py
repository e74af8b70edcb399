"""Lists our guests' VMs through the clients that the providers publish: XenAPI, boto3, google-cloud-compute, openstacksdk.

Each client is asked for what its users ask it: nothing here knows how the operator reads a provider.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import XenAPI

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
from look import Sandbox, with_openstack  # noqa: E402

MARKS = ("guest", "incarnation", "namespace", "name")
# What a provider calls the states that a guest in peace is in.
PHASES = {
    **dict.fromkeys(("xapi Running", "ec2 running", "gce RUNNING", "openstack ACTIVE"), "Running"),
    **dict.fromkeys(("xapi Halted", "ec2 stopped", "gce TERMINATED", "openstack SHUTOFF"), "Stopped"),
}


@dataclass(frozen=True)
class Vm:
    """A VM with this cluster's marks, as a client shows it."""

    kind: str
    """Of provider, as CloudPools call it."""
    id: str
    marks: dict[str, str]
    """Whose it is: the guest's UID, its incarnation, namespace and name."""
    state: str
    vcpus: int
    memory_mib: int
    zone: str | None = None
    type: str | None = None
    addresses: tuple[str, ...] = ()
    host: str | None = None
    """Where the client shows hosts by name."""

    @property
    def phase(self) -> str:
        """What the guest's status ought to say of this state."""
        return PHASES.get(f"{self.kind} {self.state}", f"something for {self.state}")


def xapi(sandbox: Sandbox, owner: str) -> Iterator[Vm]:
    """Through XenAPI. A mark counts under the VM's own uuid alone: copies of it carry it under another."""
    state = sandbox.state("xapi-sim")
    # The simulator signs its own certificate, and only loopback is asked.
    session = XenAPI.Session(state["url"], ignore_ssl=True)
    session.xenapi.login_with_password(state["user"], state["password"], "1.0", "innkeeper clients")
    try:
        tools = session.xenapi.VM_guest_metrics.get_all_records()
        hosts = {host: record["name_label"] for host, record in session.xenapi.host.get_all_records().items()}
        for vm in session.xenapi.VM.get_all_records().values():
            mark = json.loads(vm["other_config"].get(f"innkeeper:{vm['uuid']}", "{}"))
            if mark.get("owner") != owner:
                continue
            # What its tools said last is shown of a VM that is off, too.
            is_on = vm["power_state"] == "Running"
            told = tools.get(vm["guest_metrics"], {}).get("networks", {}) if is_on else {}
            yield Vm(
                "xapi",
                vm["uuid"],
                {name: str(mark[name]) for name in MARKS},
                vm["power_state"],
                int(vm["VCPUs_at_startup"]),
                int(vm["memory_dynamic_max"]) >> 20,
                addresses=tuple(value for _, value in sorted(told.items())),
                host=hosts.get(vm["resident_on"]),
            )
    finally:
        session.xenapi.session.logout()


def ec2(sandbox: Sandbox, owner: str) -> Iterator[Vm]:
    """Through boto3. A terminated instance is none."""
    state, (key, secret) = sandbox.state("ec2"), sandbox.ec2_keys()
    client = boto3.client(
        "ec2",
        endpoint_url=state["url"],
        region_name=state["region"],
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )
    ours = [{"Name": "tag:innkeeper.dev/owner", "Values": [owner]}]
    pages = client.get_paginator("describe_instances").paginate(Filters=ours)
    found = [one for page in pages for reservation in page["Reservations"] for one in reservation["Instances"]]
    found = [one for one in found if one["State"]["Name"] != "terminated"]
    if not found:
        return
    kinds = client.describe_instance_types(InstanceTypes=sorted({one["InstanceType"] for one in found}))
    sizes = {kind["InstanceType"]: kind for kind in kinds["InstanceTypes"]}
    for one in found:
        tags = {tag["Key"]: tag["Value"] for tag in one["Tags"]}
        size = sizes[one["InstanceType"]]
        yield Vm(
            "ec2",
            one["InstanceId"],
            {name: tags[f"innkeeper.dev/{name}"] for name in MARKS},
            one["State"]["Name"],
            size["VCpuInfo"]["DefaultVCpus"],
            size["MemoryInfo"]["SizeInMiB"],
            one["Placement"]["AvailabilityZone"],
            one["InstanceType"],
            tuple(one[name] for name in ("PrivateIpAddress", "PublicIpAddress") if one.get(name)),
        )


def gce(sandbox: Sandbox, owner: str) -> Iterator[Vm]:
    """Through google-cloud-compute."""
    state = sandbox.state("gce")
    command = [sys.executable, "-B", ROOT / "tests/gce-sim/list_guests.py", state["url"], state["project"], owner]
    env = os.environ | {"INNKEEPER_GCE_KEY": json.dumps(state["key"])}
    for one in json.loads(subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True, timeout=120).stdout):
        marks = {name: one[name] for name in MARKS}
        size = (one["vcpus"], one["memoryMb"], one["zone"], one["type"])
        yield Vm("gce", one["id"], marks, one["status"], *size, tuple(one["addresses"]))


def openstack(sandbox: Sandbox, owner: str) -> Iterator[Vm]:
    """Through openstacksdk."""
    state = sandbox.state("openstack")
    own = state["applicationCredential"]
    for one in with_openstack("list_guests.py", state["identity"], state["region"], own["id"], own["secret"]):
        if f"innkeeper-{owner}" not in one["tags"]:
            continue
        marks = {name: one["metadata"][f"innkeeper.{name}"] for name in MARKS}
        size = (one["vcpus"], one["ram"], one["zone"], one["flavor"])
        yield Vm("openstack", one["id"], marks, one["status"], *size, tuple(one["addresses"]))


CLIENTS: dict[str, Callable[[Sandbox, str], Iterator[Vm]]] = {
    "xapi": xapi, "ec2": ec2, "gce": gce, "openstack": openstack,
}  # fmt: skip


def listed(sandbox: Sandbox, owner: str) -> list[Vm]:
    """What all clients show of this owner's, provider by provider."""
    return [vm for client in CLIENTS.values() for vm in client(sandbox, owner)]


def twice(vms: list[Vm]) -> list[str]:
    """Guests that have more than one VM, which none may have at any time, in words."""
    by_guest: dict[str, list[Vm]] = {}
    for vm in vms:
        by_guest.setdefault(vm.marks["guest"], []).append(vm)
    several = [group for group in by_guest.values() if len(group) > 1]
    return [
        f"{group[0].marks['namespace']}/{group[0].marks['name']} has {len(group)} VMs: "
        + ", ".join(f"{vm.kind} {vm.id} ({vm.state})" for vm in group)
        for group in several
    ]
