#!/usr/bin/env python3
"""Reads manifests, guests and providers for the demo. The providers are asked directly, not through the operator."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import boto3
import XenAPI
import yaml

ROOT = Path(__file__).parents[1]
# The servers of scripts/sandbox.sh by the kind of pool that they stand for.
SERVERS = {"xapi": "xapi-sim", "ec2": "ec2", "gce": "gce", "openstack": "openstack"}
# What the OpenStack cloud is called in clouds.yaml.
CLOUD = "sandbox"


def with_openstack(script: str, *arguments: str) -> Any:
    """The JSON that a script of tests/openstack prints; it is run in the environment that has OpenStack's libraries."""
    python = Path(os.environ["INNKEEPER_OPENSTACK"]) / "bin/python"
    command = [python, "-B", ROOT / "tests/openstack" / script, *arguments]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=120).stdout)


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

    def has(self, name: str) -> bool:
        """Whether a server runs here."""
        return (self._folder / f"{name}.json").exists()

    def openstack_objects(self) -> dict[str, str]:
        """Every server, key pair and port of the OpenStack project, with what it is."""
        found: dict[str, str] = with_openstack("list_held.py", str(self._folder / "openstack.json"))
        return found

    def manifests(self) -> list[dict[str, Any]]:
        """The example's objects, with the addresses of the servers here."""
        return [each for each in yaml.safe_load_all((self._folder / "examples.yaml").read_text()) if each]


def manifests(sandbox: Sandbox, examples: Path) -> str:
    """The files of a folder of examples as one, with what is particular to the servers here filled in."""
    found = []
    for file in sorted(examples.glob("*.yaml")):
        found += [each for each in yaml.safe_load_all(file.read_text()) if each]
    for each in found:
        if each["kind"] == "CloudPool":
            fill(sandbox, each["spec"])
    return str(yaml.safe_dump_all(found, sort_keys=False))


def fill(sandbox: Sandbox, pool: dict[str, Any]) -> None:
    """Puts the address of the server here into a pool, with what it knows its images by."""
    ((kind, provider),) = pool["provider"].items()
    state = sandbox.state(SERVERS[kind])
    match kind:
        case "xapi":
            # The one certificate of the simulator.
            provider |= {"endpoints": [state["url"]], "tls": {"certificateFingerprints": [state["fingerprint"]]}}
        case "ec2":
            provider["endpoint"] = state["url"]
        case "gce":
            provider |= {"endpoint": state["url"], "project": state["project"]}
        case "openstack":
            provider |= {"cloud": CLOUD, "region": state["region"]}
            for image in pool["images"]:
                image["providerId"] = state["image"]


def clouds_yaml(state: dict[str, Any]) -> str:
    """What OpenStack's own tools read addresses and credentials from."""
    auth = {
        "auth_url": state["identity"],
        "application_credential_id": state["applicationCredential"]["id"],
        "application_credential_secret": state["applicationCredential"]["secret"],
    }
    return str(yaml.safe_dump({"clouds": {CLOUD: {"auth_type": "v3applicationcredential", "auth": auth}}}))


def credentials(sandbox: Sandbox, kind: str) -> dict[str, str]:
    """What the Secret of a pool of this kind holds."""
    state = sandbox.state(SERVERS[kind])
    match kind:
        case "xapi":
            return {"username": state["user"], "password": state["password"]}
        case "ec2":
            return dict(zip(("accessKeyId", "secretAccessKey"), sandbox.ec2_keys(), strict=True))
        case "gce":
            return {"key.json": json.dumps(state["key"])}
        case _:
            return {"clouds.yaml": clouds_yaml(state)}


def secrets(sandbox: Sandbox, mark: str) -> str:
    """The Secrets that the pools refer to, with a label, and every namespace that is used."""
    name, _, value = mark.partition("=")
    namespaces, made = set(), []
    for each in sandbox.manifests():
        if namespace := each["metadata"].get("namespace"):
            namespaces.add(namespace)
        for kind, provider in each.get("spec", {}).get("provider", {}).items():
            if reference := provider.get("credentialsSecretRef") or provider.get("cloudsYamlSecretRef"):
                namespaces.add(reference["namespace"])
                metadata = {**reference, "labels": {name: value}}
                data = credentials(sandbox, kind)
                made.append({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})
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


def gce_objects(state: dict[str, Any]) -> dict[str, str]:
    """Every instance and disk of the project, with what it is: all that the simulator has, shown or not."""
    with urllib.request.urlopen(f"{state['url']}/innkeeper/state", timeout=30) as answer:
        held = json.load(answer)
    last = lambda link: link.rsplit("/", 1)[-1]  # noqa: E731
    found = {f"{last(one['zone'])}/{one['name']}": f"instance {one['status']}" for one in held["instances"]}
    return found | {f"disk {last(one['zone'])}/{one['name']}": "disk" for one in held["disks"]}


def providers(sandbox: Sandbox, baseline: Path | None) -> dict[str, dict[str, str]]:
    """What the providers hold beyond the baseline."""
    before = json.loads(baseline.read_text()) if baseline else {}
    now = {
        "xen": xen_objects(sandbox.state("xapi-sim")),
        "ec2": ec2_objects(sandbox.state("ec2"), sandbox.ec2_keys()),
    }
    if sandbox.has("gce"):
        now["gce"] = gce_objects(sandbox.state("gce"))
    if sandbox.has("openstack"):
        now["openstack"] = sandbox.openstack_objects()
    return {
        name: {key: what for key, what in objects.items() if key not in before.get(name, {})}
        for name, objects in now.items()
    }


RUNNING = {"xen": "VM Running", "ec2": "instance running", "gce": "instance RUNNING", "openstack": "server ACTIVE"}


def summary(held: dict[str, dict[str, str]]) -> str:
    """Running VMs at each provider, and the number of all objects: what the demo compares."""
    running = [sum(what == word for what in held.get(name, {}).values()) for name, word in RUNNING.items()]
    return " ".join(map(str, [*running, sum(map(len, held.values()))]))


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
