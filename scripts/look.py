#!/usr/bin/env python3
"""Reads manifests, guests and providers for the demo. The providers are asked directly, not through the operator."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import boto3
import XenAPI
import yaml

# The addresses in examples/ that stand for a pool of the reader's own.
XAPI_EXAMPLE, EC2_EXAMPLE = "https://xapi.example.internal", "http://ec2.example.internal"


class Sandbox:
    """The folder that scripts/sandbox.sh keeps its state in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def state(self, name: str) -> dict[str, Any]:
        """What a server wrote when it was ready."""
        value: dict[str, Any] = json.loads((self._folder / f"{name}.json").read_text())
        return value

    def ec2_keys(self) -> tuple[str, str]:
        """Access key and secret."""
        key, secret = (self._folder / "ec2-keys").read_text().split()
        return key, secret

    def manifests(self) -> list[dict[str, Any]]:
        """The example's objects, with the addresses of the servers here."""
        return [each for each in yaml.safe_load_all((self._folder / "examples.yaml").read_text()) if each]


def manifests(sandbox: Sandbox, examples: Path) -> str:
    """The files of examples/ as one, with the servers' addresses and the pool's certificate filled in."""
    xapi, ec2 = sandbox.state("xapi-sim"), sandbox.state("ec2")
    lines = []
    for file in sorted(examples.glob("*.yaml")):
        text = file.read_text().replace(XAPI_EXAMPLE, xapi["url"]).replace(EC2_EXAMPLE, ec2["url"])
        lines.append("---")
        for line in text.splitlines():
            # The one certificate of the simulator stands in for the example's.
            lines.append(line.replace(":".join(["00"] * 32), xapi["fingerprint"]))
    return "\n".join(lines)


def secrets(sandbox: Sandbox, mark: str) -> str:
    """The Secrets that the pools refer to, with a label, and every namespace that is used."""
    name, _, value = mark.partition("=")
    xapi, (key, secret) = sandbox.state("xapi-sim"), sandbox.ec2_keys()
    data = {
        "xapi": {"username": xapi["user"], "password": xapi["password"]},
        "ec2": {"accessKeyId": key, "secretAccessKey": secret},
    }
    namespaces, made = set(), []
    for each in sandbox.manifests():
        if namespace := each["metadata"].get("namespace"):
            namespaces.add(namespace)
        for kind, provider in each.get("spec", {}).get("provider", {}).items():
            if reference := provider.get("credentialsSecretRef"):
                namespaces.add(reference["namespace"])
                metadata = {**reference, "labels": {name: value}}
                made.append({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data[kind]})
    homes = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": home}}
        for home in sorted(namespaces - {"default"})
    ]
    return str(yaml.safe_dump_all(homes + made))


def pools(sandbox: Sandbox) -> str:
    """The examples' pools alone."""
    return str(yaml.safe_dump_all(each for each in sandbox.manifests() if each["kind"] == "CloudPool"))


def workload(sandbox: Sandbox) -> str:
    """Namespace, name and replicas of the one workload of the examples."""
    found = [each for each in sandbox.manifests() if each["kind"] == "VirtualWorkload"]
    if len(found) != 1:
        sys.exit(f"examples/ holds {len(found)} VirtualWorkloads; the demo is written for one")
    metadata = found[0]["metadata"]
    return f"{metadata.get('namespace', 'default')} {metadata['name']} {found[0]['spec']['replicas']}"


def table(guests: list[dict[str, Any]]) -> str:
    """The guests as people want to see them."""
    rows = [("GUEST", "POOL", "HOST", "ADDRESS", "PER HOUR", "WHY")]
    for guest in guests:
        binding, status = guest["spec"].get("binding", {}), guest.get("status", {})
        cost = status.get("hourlyCost")
        rows.append(
            (
                guest["metadata"]["name"],
                binding.get("pool", "-"),
                status.get("host") or binding.get("instanceType", "-"),
                next(iter(status.get("addresses", [])), "-"),
                f"{cost['amount']} {cost['currency']}" if cost else "-",
                status.get("placement", {}).get("message", "-"),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join("  ".join([*map(str.ljust, row, widths), row[-1]]) for row in rows)


def xen_objects(state: dict[str, Any]) -> dict[str, str]:
    """Every VM and disk of the pool by uuid, with what it is; templates and domain 0 too."""
    # The simulator signs its own certificate, and only loopback is asked.
    session = XenAPI.Session(state["url"], ignore_ssl=True)
    session.xenapi.login_with_password(state["user"], state["password"], "1.0", "innkeeper demo")
    try:
        found = {vm["uuid"]: f"VM {vm['power_state']}" for vm in session.xenapi.VM.get_all_records().values()}
        found |= {disk["uuid"]: "disk" for disk in session.xenapi.VDI.get_all_records().values()}
    finally:
        session.xenapi.session.logout()
    return found


def ec2_objects(state: dict[str, Any], keys: tuple[str, str]) -> dict[str, str]:
    """Every instance and volume of the account by id, with what it is. A terminated instance is none."""
    client = boto3.client(
        "ec2",
        endpoint_url=state["url"],
        region_name=state["region"],
        aws_access_key_id=keys[0],
        aws_secret_access_key=keys[1],
    )
    found = {}
    for page in client.get_paginator("describe_instances").paginate():
        for reservation in page["Reservations"]:
            for instance in reservation["Instances"]:
                if instance["State"]["Name"] != "terminated":
                    found[instance["InstanceId"]] = f"instance {instance['State']['Name']}"
    for page in client.get_paginator("describe_volumes").paginate():
        found |= {volume["VolumeId"]: "volume" for volume in page["Volumes"]}
    return found


def providers(sandbox: Sandbox, baseline: Path | None) -> dict[str, dict[str, str]]:
    """What both providers hold beyond the baseline."""
    before = json.loads(baseline.read_text()) if baseline else {}
    now = {
        "xen": xen_objects(sandbox.state("xapi-sim")),
        "ec2": ec2_objects(sandbox.state("ec2"), sandbox.ec2_keys()),
    }
    return {
        name: {key: what for key, what in objects.items() if key not in before.get(name, {})}
        for name, objects in now.items()
    }


def summary(held: dict[str, dict[str, str]]) -> str:
    """Running VMs at Xen and at EC2, and the number of all objects: what the demo compares."""
    xen = sum(what == "VM Running" for what in held["xen"].values())
    ec2 = sum(what == "instance running" for what in held["ec2"].values())
    return f"{xen} {ec2} {sum(map(len, held.values()))}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sandbox", type=Path, required=True)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("manifests").add_argument("examples", type=Path)
    commands.add_parser("secrets").add_argument("label", help="KEY=VALUE")
    commands.add_parser("pools")
    commands.add_parser("workload")
    commands.add_parser("table")
    commands.add_parser("baseline")
    commands.add_parser("providers").add_argument("baseline", type=Path)
    commands.add_parser("left").add_argument("baseline", type=Path)
    given = parser.parse_args()
    sandbox = Sandbox(given.sandbox)
    match given.command:
        case "manifests":
            print(manifests(sandbox, given.examples))
        case "secrets":
            print(secrets(sandbox, given.label))
        case "pools":
            print(pools(sandbox))
        case "workload":
            print(workload(sandbox))
        case "table":
            print(table(json.load(sys.stdin)["items"]))
        case "baseline":
            print(json.dumps(providers(sandbox, None)))
        case "providers":
            print(summary(providers(sandbox, given.baseline)))
        case "left":
            for name, objects in providers(sandbox, given.baseline).items():
                for key, what in objects.items():
                    print(f"{name}: {what} {key}")


if __name__ == "__main__":
    main()
