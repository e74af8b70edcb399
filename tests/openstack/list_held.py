"""Lists all that the project of the control plane holds, as JSON, by id: list_held.py STATE_FILE. As the project's own user."""

import json
import pathlib
import sys

import openstack

state = json.loads(pathlib.Path(sys.argv[1]).read_text())
auth = {
    "auth_url": state["identity"],
    "username": state["user"],
    "password": state["password"],
    "project_id": state["project"],
    "user_domain_id": "default",
}
cloud = openstack.connect(auth=auth, region_name=state["region"], load_yaml_config=False, load_envvars=False)
held = {server.id: f"server {server.status}" for server in cloud.compute.servers()}
held |= {f"key pair {pair.name}": "key pair" for pair in cloud.compute.keypairs()}
held |= {port.id: "port" for port in cloud.network.ports(project_id=state["project"])}
print(json.dumps(held))
