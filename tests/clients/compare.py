#!/usr/bin/env python3
"""Compares Guest.status with what the providers' official clients show: kubectl get cloudpools,guests -A -o json | compare.py

Prints a line for each guest; a difference is named on standard error, and makes the exit code 1. With --alone it only looks
whether any guest has more than one VM.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from seen import Sandbox, Vm, listed, twice

Object = dict[str, Any]
UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}


def mib(size: str) -> int:
    """A size of the API in MiB."""
    unit = UNITS.get(size[-2:])
    return int(size[:-2] if unit else size) * (unit or 1) >> 20


def differences(guest: Object, pool: Object, vm: Vm) -> list[str]:
    """What a guest's status says otherwise than the client."""
    meta, status = guest["metadata"], guest["status"]
    said, size = status.get("vm", {}), guest["spec"]["template"]["size"]
    ((kind, provider),) = pool["spec"]["provider"].items()
    marks = {
        "guest": meta["uid"],
        "incarnation": str(status["incarnation"]),
        "namespace": meta["namespace"],
        "name": meta["name"],
    }
    pairs: list[tuple[str, object, object]] = [
        ("provider", kind, vm.kind),
        ("id", status["providerId"], vm.id),
        ("marks", marks, vm.marks),
        ("state", status["phase"], vm.phase),
        ("zone", said.get("zone"), vm.zone),
        ("type", said.get("instanceType"), vm.type),
        ("addresses", sorted(status.get("addresses", [])), sorted(set(vm.addresses))),
    ]
    if kind == "xapi":
        pairs.append(("host", status.get("host"), vm.host))
    # Some providers tell the type and not what it is; then the client knows more than the status says.
    if "vcpus" in said:
        pairs.append(("processors", said["vcpus"], vm.vcpus))
    if "memory" in said:
        pairs.append(("memory in MiB", mib(said["memory"]), vm.memory_mib))
    found = [f"{what}: the status says {ours}, the client {theirs}" for what, ours, theirs in pairs if ours != theirs]
    if vm.vcpus < size["vcpus"] or vm.memory_mib < mib(size["memory"]):
        found.append(f"size: {size} was asked for, the client shows {vm.vcpus} vCPU and {vm.memory_mib} MiB")
    if kind == "gce" and vm.zone not in provider["zones"]:
        found.append(f"zone: the pool's are {provider['zones']}, the client shows {vm.zone}")
    return found


def compare(guests: list[Object], pools: dict[str, Object], vms: list[Vm]) -> list[str]:
    """All differences, each with the guest's name. None: every guest has the one VM that its status describes."""
    by_id = {vm.id: vm for vm in vms}
    found = twice(vms)
    for guest in guests:
        name = f"{guest['metadata']['namespace']}/{guest['metadata']['name']}"
        vm = by_id.pop(guest["status"].get("providerId"), None)
        if vm is None:
            found.append(f"{name}: no client shows {guest['status'].get('providerId')}")
            continue
        pool = pools[guest["spec"]["binding"]["pool"]]
        found += [f"{name}: {each}" for each in differences(guest, pool, vm)]
    return found + [f"{vm.kind} {vm.id} belongs to no guest" for vm in by_id.values()]


def main() -> None:
    """Reads the objects, asks the clients, and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sandbox", type=Path, required=True, help="where scripts/sandbox.sh keeps its state")
    parser.add_argument("--owner", required=True, help="what VMs are marked with: the UID of the namespace kube-system")
    parser.add_argument("--alone", action="store_true", help="only look for guests with more than one VM")
    given = parser.parse_args()
    # Read also where it is not needed: whoever writes it would break off otherwise.
    items: list[Object] = json.load(sys.stdin)["items"]
    vms = listed(Sandbox(given.sandbox), given.owner)
    if given.alone:
        found = twice(vms)
    else:
        guests = [item for item in items if item["kind"] == "Guest"]
        pools = {item["metadata"]["name"]: item for item in items if item["kind"] == "CloudPool"}
        found = compare(guests, pools, vms)
        by_id = {guest["status"].get("providerId"): guest for guest in guests}
        for vm in vms:
            pool = by_id[vm.id]["spec"]["binding"]["pool"] if vm.id in by_id else "-"
            size = f"{vm.vcpus} vCPU, {vm.memory_mib} MiB"
            print(f"{vm.marks['name']:8} {pool:20} {vm.state:10} {vm.type or '-':9} {size:17} {vm.zone or vm.host or '-'}")
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
