"""The configuration files of the control plane. Everything is below one folder, and listens on loopback."""

REGION = "RegionOne"
ADMIN = "admin-of-the-tests"
DATABASES = ("keystone", "placement", "glance", "neutron", "nova_api", "nova", "nova_cell0")


def database(work, name):
    return f"mysql+pymysql://root@localhost/{name}?unix_socket={work}/mysql.sock&charset=utf8"


def credentials(ports):
    return f"""
auth_type = password
auth_url = http://127.0.0.1:{ports["keystone"]}/v3
username = admin
password = {ADMIN}
project_name = admin
user_domain_id = default
project_domain_id = default
region_name = {REGION}
"""


def shared(work, ports, kind):
    # The service type is what access rules of application credentials are told apart by.
    return f"""
[keystone_authtoken]
service_type = {kind}
www_authenticate_uri = http://127.0.0.1:{ports["keystone"]}/v3
{credentials(ports)}
[oslo_concurrency]
lock_path = {work}/lock
[cache]
enabled = false
"""


def keystone(work):
    return f"""
[DEFAULT]
log_file = {work}/keystone.log
[database]
connection = {database(work, "keystone")}
[token]
provider = fernet
[fernet_tokens]
key_repository = {work}/fernet
[credential]
key_repository = {work}/cred
[cache]
enabled = false
"""


def placement(work, ports):
    return f"""
[DEFAULT]
log_file = {work}/placement.log
[api]
auth_strategy = keystone
[placement_database]
connection = {database(work, "placement")}
{shared(work, ports, "placement")}
"""


def glance(work, ports, venv):
    return f"""
[DEFAULT]
log_file = {work}/glance.log
enabled_backends = disk:file
enabled_import_methods = [glance-direct]
workers = 0
[glance_store]
default_backend = disk
[disk]
filesystem_store_datadir = {work}/images
[os_glance_staging_store]
filesystem_store_datadir = {work}/state/staging
[os_glance_tasks_store]
filesystem_store_datadir = {work}/state/tasks
[database]
connection = {database(work, "glance")}
[paste_deploy]
flavor = keystone
config_file = {venv}/etc/glance/glance-api-paste.ini
{shared(work, ports, "image")}
"""


def neutron(work, ports, venv):
    return f"""
[DEFAULT]
log_file = {work}/neutron.log
core_plugin = ml2
service_plugins =
transport_url = fake://
api_paste_config = {venv}/etc/neutron/api-paste.ini
state_path = {work}/state
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
dhcp_agent_notification = false
[quotas]
quota_port = -1
[database]
connection = {database(work, "neutron")}
[ml2]
type_drivers = local,flat
project_network_types = local
mechanism_drivers = bound
extension_drivers =
[nova]
{credentials(ports)}
[placement]
{credentials(ports)}
{shared(work, ports, "network")}
"""


def nova(work, ports, venv):
    return f"""
[DEFAULT]
log_file = {work}/nova.log
host = hv1
my_ip = 127.0.0.1
state_path = {work}/state
instances_path = {work}/instances
transport_url = fake://
compute_driver = fake.FakeDriver
default_log_levels = nova=INFO,oslo=WARN,keystonemiddleware=WARN
vif_plugging_is_fatal = false
vif_plugging_timeout = 0
rpc_response_timeout = 60
[wsgi]
api_paste_config = {venv}/etc/nova/api-paste.ini
[api_database]
connection = {database(work, "nova_api")}
[database]
connection = {database(work, "nova")}
[service_user]
send_service_user_token = true
{credentials(ports)}
[placement]
{credentials(ports)}
[neutron]
{credentials(ports)}
endpoint_override = http://127.0.0.1:{ports["neutron"]}
[glance]
endpoint_override = http://127.0.0.1:{ports["glance"]}
[cinder]
{credentials(ports)}
[quota]
instances = 60
cores = 200
ram = 400000
{shared(work, ports, "compute")}
"""
