"""Nova in one process: API, conductor, scheduler and hypervisors that only pretend, over a transport within the process.

The environment names the hosts (NOVA_HOSTS) and the port (NOVA_PORT). OS_NOVA_CONFIG_FILES must name api-paste.ini first.
"""

# Nova decides how it runs concurrent work when it is imported.
from nova import monkey_patch

monkey_patch.patch(backend="threading")

import os  # noqa: E402

import nova.conf  # noqa: E402
import os_brick  # noqa: E402
import os_vif  # noqa: E402
import waitress  # noqa: E402
from nova import context, service  # noqa: E402
from nova.api.openstack import wsgi_app  # noqa: E402
from nova.compute import rpcapi as compute_rpc  # noqa: E402
from nova.conductor import rpcapi as conductor_rpc  # noqa: E402
from nova.objects import host_mapping  # noqa: E402
from nova.scheduler import rpcapi as scheduler_rpc  # noqa: E402

CONF = nova.conf.CONF


def start(binary, topic, **more):
    one = service.Service.create(binary=binary, topic=topic, **more)
    one.start()
    return one


# It parses the configuration and registers the objects.
application = wsgi_app.init_application("osapi_compute", "nova-api")
os_brick.setup(CONF)
os_vif.initialize()
running = [start("nova-conductor", conductor_rpc.RPC_TOPIC), start("nova-scheduler", scheduler_rpc.RPC_TOPIC)]
for host in os.environ["NOVA_HOSTS"].split(","):
    CONF.set_override("host", host)
    # Without the second topic a resize never ends.
    alternative = getattr(compute_rpc, "RPC_TOPIC_ALT", None)
    running.append(start("nova-compute", compute_rpc.RPC_TOPIC, host=host, topic_alt=alternative))
CONF.clear_override("host")
host_mapping.discover_hosts(context.get_admin_context(), None, print)
waitress.serve(application, host="127.0.0.1", port=int(os.environ["NOVA_PORT"]), threads=16, _quiet=True)
