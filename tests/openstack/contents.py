"""What is in the control plane of the tests: the catalogue, and a project with its user, network, flavours and image."""

import json
import pathlib

import openstack

import conf

PROJECT = "lodging"
USER = "innkeeper"
PASSWORD = "the-right-password-of-the-tests"
SECRET = "the-right-secret-of-the-tests"
PATHS = {"placement": "placement", "glance": "image", "neutron": "network", "nova": "compute"}
EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
FLAVOURS = {"m1.small": (1, 2048, 20), "m1.large": (4, 8192, 40)}


def url(ports, name):
    return f"http://127.0.0.1:{ports[name]}" + ("/v2.1" if name == "nova" else "")


def connect(ports, **more):
    admin = {"username": "admin", "password": conf.ADMIN, "project_name": "admin"}
    domains = {"user_domain_id": "default", "project_domain_id": "default"}
    auth = {"auth_url": f"http://127.0.0.1:{ports['keystone']}/v3", **(more or {**admin, **domains})}
    return openstack.connect(auth=auth, region_name=conf.REGION, load_yaml_config=False, load_envvars=False)


def catalogue(ports):
    cloud = connect(ports)
    for name, kind in PATHS.items():
        service = cloud.identity.create_service(name=name, type=kind)
        for interface in ("public", "internal"):
            cloud.identity.create_endpoint(
                service_id=service.id, interface=interface, url=url(ports, name), region_id=conf.REGION
            )
    # Nova sends a service token whether it is told to or not.
    user, project = cloud.identity.find_user("admin"), cloud.identity.find_project("admin")
    role = cloud.identity.find_role("service") or cloud.identity.create_role(name="service")
    cloud.identity.assign_project_role_to_user(project, user, role)


def addresses(ports):
    """The template's addresses are those of the run that made it."""
    cloud = connect(ports)
    names = {service.id: service.name for service in cloud.identity.services()}
    for endpoint in cloud.identity.endpoints():
        name = names[endpoint.service_id]
        if name in PATHS:
            cloud.identity.update_endpoint(endpoint.id, url=url(ports, name))


def project(ports, hosts):
    """What an administrator prepares for Innkeeper: a project, and a user with no more than the role of a member."""
    cloud = connect(ports)
    there = cloud.identity.create_project(name=PROJECT, domain_id="default")
    user = cloud.identity.create_user(name=USER, password=PASSWORD, domain_id="default")
    cloud.identity.assign_project_role_to_user(there, user, cloud.identity.find_role("member"))
    own = {"username": USER, "password": PASSWORD, "project_id": there.id, "user_domain_id": "default"}
    network = connect(ports, **own).network.create_network(name="frontend")
    cloud.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.20.0.0/20", project_id=there.id)
    for name, (vcpus, ram, disk) in FLAVOURS.items():
        cloud.compute.create_flavor(name=name, vcpus=vcpus, ram=ram, disk=disk)
    image = cloud.image.create_image(
        name="debian-12", disk_format="raw", container_format="bare", visibility="public", data=b"an image", wait=True
    )
    for number, host in enumerate(hosts, 1):
        zone = cloud.compute.create_aggregate(name=f"zone-{number}", availability_zone=f"zone-{number}")
        cloud.compute.add_host_to_aggregate(zone.id, host)
    session = connect(ports, **own)
    rules = json.loads((EXAMPLES / "openstack" / "access-rules.json").read_text())
    application = session.identity.create_application_credential(
        user=session.current_user_id, name="innkeeper", secret=SECRET, roles=[{"name": "member"}], access_rules=rules
    )
    # The first server takes Nova far longer than those after it.
    flavor = cloud.compute.find_flavor("m1.small")
    first = session.compute.create_server(
        name="first", image_id=image.id, flavor_id=flavor.id, networks=[{"uuid": network.id}]
    )
    session.compute.wait_for_server(first, wait=300)
    session.compute.delete_server(first)
    session.compute.wait_for_delete(first, wait=300)
    return {
        "identity": url(ports, "keystone") + "/v3",
        "compute": url(ports, "nova"),
        "region": conf.REGION,
        "project": there.id,
        "user": USER,
        "password": PASSWORD,
        "applicationCredential": {"id": application.id, "secret": SECRET},
        "admin": {"user": "admin", "password": conf.ADMIN, "project": "admin"},
        "network": network.id,
        "image": image.id,
        "zones": [f"zone-{number}" for number, _ in enumerate(hosts, 1)],
    }
