"""Lists the servers of a project with OpenStack's own Python library, as JSON: list_guests.py AUTH_URL REGION ID SECRET."""

import json
import sys

import openstack

url, region, identity, secret = sys.argv[1:]
auth = {"auth_url": url, "application_credential_id": identity, "application_credential_secret": secret}
cloud = openstack.connect(
    auth_type="v3applicationcredential", auth=auth, region_name=region, load_yaml_config=False, load_envvars=False
)
# Tags and the flavour's own name come with this microversion.
cloud.compute.default_microversion = "2.93"
guests = [
    {
        "id": server.id,
        "name": server.name,
        "status": server.status,
        "flavor": server.flavor["original_name"],
        "vcpus": server.flavor["vcpus"],
        "ram": server.flavor["ram"],
        "zone": server.availability_zone,
        "tags": sorted(server.to_dict().get("tags") or []),
        "metadata": server.metadata,
        "locked": server.is_locked,
        "addresses": [one["addr"] for _, cards in sorted(server.addresses.items()) for one in cards],
    }
    for server in cloud.compute.servers()
]
print(json.dumps(guests))
