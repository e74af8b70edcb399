"""API server, Xen pool, EC2 endpoint and operator, as tests/e2e has them, for tests that are about kubectl and helm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from .process import Process, free_port, http, until

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("INNKEEPER_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "innkeeper")
PROGRAMS = Path(os.environ.get("INNKEEPER_PROGRAMS", CACHE / "target/debug"))
sys.path.insert(0, str(ROOT / "scripts"))
import look  # noqa: E402  asks the providers themselves

START = 120.0
SOON = 90.0
KEYS = ("AKIDOFTHETESTS", "the-secret-key-of-the-tests")
PASSWORD = "the-password-of-the-tests"
NAMESPACE = "innkeeper-system"
Object = dict[str, Any]


class Stack:
    """All of them in one folder. Use it as a context."""

    def __init__(self, *apiserver: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="innkeeper-chart-")
        self.folder = Path(self._folder.name)
        self._apiserver = apiserver
        self._processes: list[Process] = []
        self.kubeconfig = self.folder / "kubeconfig"
        self.xapi: Object = {}
        self.ec2: Object = {}

    def __enter__(self) -> Stack:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.stop(kill=True)
        self._folder.cleanup()

    def launch(self, name: str, *command: str | Path, env: dict[str, str] | None = None) -> Process:
        """Starts a server."""
        process = Process(name, [str(part) for part in command], self.folder, env)
        self._processes.append(process)
        return process

    def start_control_plane(self) -> Process:
        """A cluster with nothing in it, or with what is left of the last one in the folder."""
        arguments = [f"--apiserver-arg={each}" for each in self._apiserver]
        data, me = self.folder / "controlplane", str(os.getpid())
        command = [CACHE / "bin/controlplane", "--data-dir", data, "--kubeconfig", self.kubeconfig]
        server = self.launch(
            "controlplane", *command, "--port", "0", "--unsafe-no-fsync", "--exit-with-pid", me, *arguments
        )
        until("the API server", START, lambda: (data / "ready").exists() or not server.running(), server.tail)
        if not server.running():
            raise AssertionError(f"the API server ended: {server.tail()}")
        return server

    def _start(self) -> None:
        xapi, ec2 = self.folder / "xapi.json", self.folder / "ec2.json"
        self.launch(
            "xapi-sim", PROGRAMS / "xapi-sim", "--port", "0", "--state-file", xapi,
            "--hosts", "2", "--host-memory", "8GiB", "--password", PASSWORD,
        )  # fmt: skip
        self.launch(
            "ec2", CACHE / "venv/bin/python", "-B", ROOT / "tests/moto/moto_ec2.py", "--state-file", ec2,
            "--region", "eu-west-1", "--image", "ami-0d1f2e3a4b5c60001", "--delay", "0.2",
            "--access-key", KEYS[0], "--secret-key", KEYS[1], "--exit-with-pid", str(os.getpid()),
        )  # fmt: skip
        self.controlplane = self.start_control_plane()
        self.xapi = until("the Xen pool", START, lambda: xapi.exists() and json.loads(xapi.read_text()))
        self.ec2 = until("the EC2 endpoint", START, lambda: ec2.exists() and json.loads(ec2.read_text()))
        self.baseline = self._held()

    def _held(self) -> dict[str, str]:
        return look.xen_objects(self.xapi) | look.ec2_objects(self.ec2, KEYS)

    def held(self) -> dict[str, str]:
        """VMs, instances and disks that were not there at the start, by id."""
        return {key: what for key, what in self._held().items() if key not in self.baseline}

    def running(self) -> set[str]:
        """Ids of the VMs and instances that run."""
        return {key for key, what in self.held().items() if what in {"VM Running", "instance running"}}

    def try_kubectl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs kubectl as the cluster's administrator."""
        command = [str(CACHE / "bin/kubectl"), "--kubeconfig", str(self.kubeconfig), *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=300)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Runs kubectl, which must succeed."""
        done = self.try_kubectl(*arguments, stdin=stdin)
        if done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def get(self, *arguments: str) -> Any:
        """An object, or the items of a list."""
        answer = json.loads(self.kubectl("get", "-o", "json", *arguments))
        return answer.get("items", answer)

    def helm(self, *arguments: str) -> str:
        """Runs helm, which must succeed."""
        done = self.try_helm(*arguments)
        if done.returncode:
            raise AssertionError(f"helm {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def try_helm(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs helm with state of its own."""
        env = os.environ | {"KUBECONFIG": str(self.kubeconfig)}
        env |= {f"HELM_{what}_HOME": str(self.folder / "helm") for what in ("CACHE", "CONFIG", "DATA")}
        command = [str(CACHE / "bin/helm"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=env)

    def examples(self, *names: str) -> list[Object]:
        """Objects of examples/, with the addresses here."""
        found = []
        for name in names or ("01-xen-london", "02-ec2-ireland", "03-web"):
            text = (ROOT / f"examples/{name}.yaml").read_text()
            text = text.replace("https://xapi.example.internal", self.xapi["url"]).replace("after: 5s", "after: 1s")
            text = text.replace("http://ec2.example.internal", self.ec2["url"])
            text = text.replace(":".join(["00"] * 32), self.xapi["fingerprint"])
            found += [each for each in yaml.safe_load_all(text) if each]
        return found

    def apply(self, *objects: Object, manager: str = "kubectl") -> str:
        """Applies objects as a GitOps tool does: on the server, and without force."""
        text = yaml.safe_dump_all(objects)
        return self.kubectl("apply", "--server-side", f"--field-manager={manager}", "-f", "-", stdin=text)

    def make_secrets(self) -> None:
        """The Secrets that the examples' pools name."""
        values = {
            "xen-london": {"username": "root", "password": PASSWORD},
            "ec2-ireland": {"accessKeyId": KEYS[0], "secretAccessKey": KEYS[1]},
        }
        for name, data in values.items():
            metadata = {"name": name, "namespace": NAMESPACE}
            self.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})

    def guests(self) -> list[Object]:
        """All guests."""
        found: list[Object] = self.get("guests", "-A")
        return found

    def wait_for_guests(self, number: int) -> list[Object]:
        """Waits until exactly so many guests exist and all are Ready with an address."""

        def done() -> list[Object] | None:
            guests = self.guests()
            ready = [each for each in guests if is_ready(each) and each["status"].get("addresses")]
            return guests if len(guests) == len(ready) == number else None

        if number == 0:
            until("the guests leave", SOON, lambda: not self.guests(), self.say)
            return []
        return until(f"{number} guests are ready", SOON, done, self.say)

    def say(self) -> str:
        """What the objects and the operator say, for a failure."""
        logs = [process.tail() for process in self._processes if process.name.startswith("operator")]
        return self.try_kubectl("get", "cloudpools,vw,guests", "-A", "-o", "wide").stdout + "\n".join(logs)

    def token_kubeconfig(self, account: str, namespace: str = NAMESPACE) -> Path:
        """A kubeconfig with a token of a ServiceAccount."""
        token = self.kubectl("create", "token", account, "-n", namespace, "--duration=1h").strip()
        config = yaml.safe_load(self.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": token}
        path = self.folder / f"{account}.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        path.chmod(0o600)
        return path

    def operator(self, arguments: list[str], env: dict[str, str], kubeconfig: Path, name: str = "operator") -> Process:
        """Starts the operator with the given arguments and nothing else in its environment, and waits until it is ready."""
        listen = f"127.0.0.1:{free_port()}"
        env = {**env, "KUBECONFIG": str(kubeconfig), "INNKEEPER_LISTEN": listen}
        operator = self.launch(name, PROGRAMS / "innkeeper", *arguments, env=env)
        self.address = f"http://{listen}"
        ready = lambda: http(f"{self.address}/readyz") or not operator.running()  # noqa: E731
        until("the operator is ready", START, ready, operator.tail)
        if not operator.running():
            raise AssertionError(f"the operator ended: {operator.tail()}")
        return operator


def condition(thing: Object, kind: str) -> Object:
    """A condition of an object; empty where it is not there."""
    conditions = thing.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == kind), {})


def is_ready(thing: Object) -> bool:
    """Whether an object is Ready as it stands now."""
    current = thing.get("status", {}).get("observedGeneration", thing["metadata"].get("generation"))
    return condition(thing, "Ready").get("status") == "True" and current == thing["metadata"].get("generation")
