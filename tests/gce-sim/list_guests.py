#!/usr/bin/env python3
"""Lists the instances with an owner's label through Google's own client, for comparing: URL PROJECT OWNER.

The key file's content is in the environment variable INNKEEPER_GCE_KEY.
"""

from __future__ import annotations

import json
import os
import sys

from google.api_core.client_options import ClientOptions
from google.cloud import compute_v1 as compute
from google.oauth2 import service_account


def main() -> None:
    """Prints what the client sees, by the guests' names."""
    url, project, owner = sys.argv[1:]
    credentials = service_account.Credentials.from_service_account_info(json.loads(os.environ["INNKEEPER_GCE_KEY"]))
    credentials = credentials.with_always_use_jwt_access(True)
    client = compute.InstancesClient(credentials=credentials, client_options=ClientOptions(api_endpoint=url))
    ask = compute.AggregatedListInstancesRequest(project=project, filter=f"labels.innkeeper-owner = {owner}")
    kinds = compute.MachineTypesClient(credentials=credentials, client_options=ClientOptions(api_endpoint=url))
    sizes = {
        kind.self_link: {"vcpus": kind.guest_cpus, "memoryMb": kind.memory_mb}
        for _, scope in kinds.aggregated_list(project=project)
        for kind in scope.machine_types
    }
    found = [
        {
            "zone": one.zone.rsplit("/", 1)[-1],
            "id": f"{one.zone.rsplit('/', 1)[-1]}/{one.name}",
            "type": one.machine_type.rsplit("/", 1)[-1],
            **sizes[one.machine_type],
            "status": one.status,
            "addresses": [card.network_i_p for card in one.network_interfaces],
            "disks": [disk.disk_size_gb for disk in one.disks],
            **{name: one.labels[f"innkeeper-{name}"] for name in ("guest", "namespace", "name", "incarnation")},
        }
        for _, scope in client.aggregated_list(ask)
        for one in scope.instances
    ]
    print(json.dumps(sorted(found, key=lambda one: one["name"])))


if __name__ == "__main__":
    main()
