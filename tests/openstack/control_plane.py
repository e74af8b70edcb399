"""A real OpenStack control plane on loopback for the tests: Keystone, Placement, Glance, Neutron, and Nova whose hypervisors
only pretend. Its databases are MariaDB's.

    control_plane.py template --to FILE             makes the databases once (about a minute and a half)
    control_plane.py run --template FILE --state-file FILE [--exit-with-pid PID]

`run` starts from the template, because Nova's hypervisors refuse to start twice on one database. When all answer, it writes
addresses and credentials to the state file and says so. It ends, with all that it has started, when it is told to or when
the process PID is gone.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request

import conf
import contents

HERE = pathlib.Path(__file__).resolve().parent
SERVICES = ("keystone", "placement", "glance", "neutron", "nova")
KEPT = ("mysql", "fernet", "cred")


class ControlPlane:
    def __init__(self, work):
        self.work = work
        self.venv = pathlib.Path(sys.prefix)
        self.children = []
        # All at once, so that no two are the same.
        sockets = [socket.socket() for _ in SERVICES]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        self.ports = {name: one.getsockname()[1] for name, one in zip(SERVICES, sockets)}
        for one in sockets:
            one.close()
        for folder in ("fernet", "cred", "images", "lock", "state", "instances"):
            (work / folder).mkdir(mode=0o700, exist_ok=True)
        for name, text in (
            ("keystone.conf", conf.keystone(work)),
            ("placement.conf", conf.placement(work, self.ports)),
            ("glance-api.conf", conf.glance(work, self.ports, self.venv)),
            ("neutron.conf", conf.neutron(work, self.ports, self.venv)),
            ("nova.conf", conf.nova(work, self.ports, self.venv)),
        ):
            (work / name).write_text(text)

    def tool(self, name, *arguments):
        command = [str(self.venv / "bin" / name), *map(str, arguments)]
        with open(self.work / "tools.log", "a", encoding="utf-8") as log:
            done = subprocess.run(command, stdout=log, stderr=log, env=self.environment(), check=False)
        if done.returncode:
            sys.exit(f"openstack: {name} {arguments[0]} failed; see {self.work}/tools.log")

    def environment(self, **more):
        path = f"{HERE}:{HERE / 'plugins'}"
        return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **more}

    def launch(self, name, command, **more):
        log = open(self.work / f"{name}.out", "wb")
        child = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment(**more))
        self.children.append((name, child))

    def until(self, name, seconds, ready):
        deadline = time.monotonic() + seconds
        while not ready():
            for child_name, child in self.children:
                if child.poll() is not None:
                    sys.exit(f"openstack: {child_name} ended; see {self.work}/{child_name}.out")
            if time.monotonic() > deadline:
                sys.exit(f"openstack: {name} is not ready after {seconds} s; see {self.work}/{name}.out")
            time.sleep(0.1)

    def sql(self, words, database=""):
        command = ["mariadb", "--no-defaults", "-uroot", "-S", f"{self.work}/mysql.sock", "-e", words, database]
        return subprocess.run(command, capture_output=True, check=False)

    def database(self):
        if not (self.work / "mysql" / "mysql").is_dir():
            command = ["mariadb-install-db", "--no-defaults", "--user=root", "--skip-test-db"]
            command += ["--auth-root-authentication-method=normal", f"--datadir={self.work}/mysql"]
            with open(self.work / "tools.log", "a", encoding="utf-8") as log:
                subprocess.run(command, stdout=log, stderr=log, check=True)
        # What is lost in a crash is made again: nothing here has to reach a disk.
        self.launch("mariadb", [
            "mariadbd", "--no-defaults", "--user=root", f"--datadir={self.work}/mysql",
            f"--socket={self.work}/mysql.sock", f"--pid-file={self.work}/mariadb.pid", "--skip-networking",
            "--skip-log-bin", "--innodb-log-file-size=16M", "--innodb-buffer-pool-size=128M",
            "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--max-connections=300",
            "--performance-schema=OFF", "--skip-name-resolve",
        ])
        self.until("mariadb", 60, lambda: self.sql("select 1").returncode == 0)

    def migrate(self):
        work, user = self.work, "root" if os.getuid() == 0 else os.environ.get("USER", "root")
        for name in conf.DATABASES:
            self.sql(f"create database {name} character set utf8mb3")
        at = f"--config-file={work}/keystone.conf"
        self.tool("keystone-manage", at, "db_sync")
        for keys in ("fernet_setup", "credential_setup"):
            self.tool("keystone-manage", at, keys, "--keystone-user", user, "--keystone-group", user)
        url = f"http://127.0.0.1:{self.ports['keystone']}/v3"
        urls = [f"--bootstrap-{kind}-url={url}" for kind in ("admin", "internal", "public")]
        self.tool("keystone-manage", at, "bootstrap", "--bootstrap-password", conf.ADMIN, "--bootstrap-region-id",
                  conf.REGION, *urls)
        self.tool("placement-manage", f"--config-file={work}/placement.conf", "db", "sync")
        self.tool("glance-manage", f"--config-file={work}/glance-api.conf", "db_sync")
        self.tool("neutron-db-manage", f"--config-file={work}/neutron.conf", "upgrade", "heads")
        nova = f"--config-file={work}/nova.conf"
        self.tool("nova-manage", nova, "api_db", "sync")
        cell0 = conf.database(work, "nova_cell0")
        self.tool("nova-manage", nova, "cell_v2", "map_cell0", "--database_connection", cell0)
        self.tool("nova-manage", nova, "db", "sync")
        self.tool("nova-manage", nova, "cell_v2", "create_cell", "--name", "cell1", "--transport-url", "fake://",
                  "--database_connection", conf.database(work, "nova"))

    def serve(self, name, module, **more):
        self.launch(name, [sys.executable, "-B", str(HERE / "serve.py"), module, str(self.ports[name])], **more)

    def answers(self, name):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}/", timeout=5)
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def keystone(self):
        # The template's addresses are those of the run that made it.
        url = f"http://127.0.0.1:{self.ports['keystone']}/v3"
        self.sql(f"update endpoint set url = '{url}' where service_id in "
                 "(select id from service where type = 'identity')", "keystone")
        self.serve("keystone", "keystone.wsgi.api", OS_KEYSTONE_CONFIG_FILES=f"{self.work}/keystone.conf")
        self.until("keystone", 120, lambda: self.answers("keystone"))

    def services(self, hosts):
        work = str(self.work)
        # Cells remember the addresses of their databases, which are below the folder of the run that made the template.
        for cell, name in (("cell0", "nova_cell0"), ("cell1", "nova")):
            url = conf.database(work, name)
            self.sql(f"update cell_mappings set database_connection = '{url}' where name = '{cell}'", "nova_api")
        self.serve("placement", "placement.wsgi.api", OS_PLACEMENT_CONFIG_FILE="placement.conf",
                   OS_PLACEMENT_CONFIG_DIR=work)
        self.serve("glance", "glance.wsgi.api", OS_GLANCE_CONFIG_DIR=work, OS_GLANCE_CONFIG_FILES="glance-api.conf")
        self.serve("neutron", "neutron.wsgi.api", OS_NEUTRON_CONFIG_DIR=work, OS_NEUTRON_CONFIG_FILES="neutron.conf")
        for name in ("placement", "glance", "neutron"):
            self.until(name, 120, lambda name=name: self.answers(name))
        # Its hypervisors ask Placement when they start.
        self.launch("nova", [sys.executable, "-B", str(HERE / "nova_all.py")], NOVA_HOSTS=hosts,
                    NOVA_PORT=str(self.ports["nova"]), OS_NOVA_CONFIG_DIR=work,
                    OS_NOVA_CONFIG_FILES=f"{self.venv}/etc/nova/api-paste.ini;nova.conf")
        self.until("nova", 180, lambda: self.answers("nova"))

    def end(self):
        for name, child in reversed(self.children):
            if name == "mariadb":
                child.terminate()
            else:
                child.kill()
        for _, child in self.children:
            child.wait()


def template(to):
    work = pathlib.Path(tempfile.mkdtemp(prefix="openstack-template-"))
    plane = ControlPlane(work)
    try:
        plane.database()
        plane.migrate()
        plane.keystone()
        contents.catalogue(plane.ports)
    finally:
        plane.end()
    part = to.with_suffix(".part")
    with tarfile.open(part, "w:gz", compresslevel=1) as archive:
        for name in KEPT:
            archive.add(work / name, arcname=name)
    part.rename(to)
    shutil.rmtree(work)


def stop(*_):
    raise SystemExit(0)


def gone(pid):
    return not pathlib.Path(f"/proc/{pid}").exists()


def run(arguments):
    work = pathlib.Path(arguments.work or tempfile.mkdtemp(prefix="openstack-"))
    work.mkdir(parents=True, exist_ok=True)
    with tarfile.open(arguments.template) as archive:
        archive.extractall(work, filter="fully_trusted")
    plane = ControlPlane(work)
    began = time.monotonic()
    try:
        plane.database()
        plane.keystone()
        contents.addresses(plane.ports)
        plane.services(arguments.hosts)
        state = contents.project(plane.ports, arguments.hosts.split(","))
        arguments.state_file.touch(mode=0o600)
        arguments.state_file.write_text(json.dumps({**state, "work": str(work)}, indent=1))
        print(f"openstack: ready in {time.monotonic() - began:.1f} s", flush=True)
        while not (arguments.exit_with_pid and gone(arguments.exit_with_pid)):
            for name, child in plane.children:
                if child.poll() is not None:
                    sys.exit(f"openstack: {name} ended; see {work}/{name}.out")
            time.sleep(0.5)
    finally:
        plane.end()
        arguments.state_file.unlink(missing_ok=True)
        if not arguments.work:
            shutil.rmtree(work, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("template")
    making.add_argument("--to", type=pathlib.Path, required=True)
    running = commands.add_parser("run")
    running.add_argument("--template", type=pathlib.Path, required=True)
    running.add_argument("--state-file", type=pathlib.Path, required=True)
    running.add_argument("--exit-with-pid", type=int)
    running.add_argument("--hosts", default="hv1,hv2,hv3")
    running.add_argument("--work", help="keep everything, logs too, in this folder")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    if arguments.command == "template":
        template(arguments.to)
    else:
        run(arguments)


if __name__ == "__main__":
    main()
