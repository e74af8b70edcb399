"""The chart on a real API server, and the operator run as its Deployment runs it: with the Deployment's arguments and
environment, and the rights of its ServiceAccount. There is no kubelet: the operator is a process beside the cluster."""

from __future__ import annotations

import shutil
import tempfile
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from cluster.process import Process, http, http_failure, until
from cluster.stack import NAMESPACE, SOON, Stack, condition

from . import audit
from .chart import CHART, ROOT

ACCOUNT = "innkeeper"
USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
FIRST_BOOT = {"metadata": {"name": "first-boot", "namespace": "default"}, "stringData": {"user": "#cloud-config\n{}\n"}}
VALUES = ("--namespace", NAMESPACE, "--set", "image.repository=registry.example.com/innkeeper",
          "--set", "rbac.secrets[0].namespace=default", "--set", "rbac.secrets[0].names={first-boot}")  # fmt: skip


def chart_with(folder: Path, name: str, change: Callable[[dict[str, Any]], object]) -> Path:
    """The chart with another definition of CloudPools."""
    chart = folder / name
    shutil.copytree(CHART, chart)
    file = chart / "files/crds/innkeeper.dev_cloudpools.yaml"
    kind = yaml.safe_load(file.read_text())
    change(spec_of(kind))
    file.write_text(yaml.safe_dump(kind))
    return chart


def spec_of(kind: dict[str, Any]) -> Any:
    """The fields of a kind's spec."""
    return kind["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]


def environment(container: dict[str, Any], pod: str) -> dict[str, str]:
    """A container's environment as a kubelet makes it."""
    fields = {"metadata.name": pod, "metadata.namespace": NAMESPACE}
    return {
        each["name"]: each["value"] if "value" in each else fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
        for each in container.get("env", [])
    }


class Cluster(unittest.TestCase):
    """One installation from its first day to its last."""

    stack: Stack
    pods = 0

    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory(prefix="innkeeper-audit-")
        cls.addClassCleanup(folder.cleanup)
        cls.log = Path(folder.name) / "audit.log"
        policy = Path(folder.name) / "policy.yaml"
        policy.write_text(audit.POLICY.format(user=USER))
        cls.stack = Stack(f"--audit-policy-file={policy}", f"--audit-log-path={cls.log}")
        cls.stack.__enter__()
        cls.addClassCleanup(cls.stack.__exit__)

    def start(self) -> None:
        """The operator as the Deployment runs it: so many replicas, beside each other."""
        replicas = self.stack.get("deployment", "innkeeper", "-n", NAMESPACE)["spec"]["replicas"]
        self.assertEqual(replicas, 2)
        self.replicas = [self.replica() for _ in range(replicas)]

    def replica(self) -> tuple[Process, str]:
        """One of them, and where it answers."""
        pod = self.stack.get("deployment", "innkeeper", "-n", NAMESPACE)["spec"]["template"]["spec"]
        self.assertEqual(pod["serviceAccountName"], ACCOUNT)
        (container,) = pod["containers"]
        self.pods += 1
        name, kubeconfig = f"innkeeper-{self.pods}", self.stack.token_kubeconfig(ACCOUNT)
        process = self.stack.operator(container["args"], environment(container, name), kubeconfig, f"operator-{self.pods}")
        return process, self.stack.address

    def replace(self) -> None:
        """New pods for old, one at a time, as a Deployment does it."""
        for old, _ in list(self.replicas):
            self.replicas = [*self.replicas[1:], self.replica()]
            self.assertEqual(old.stop(), 0)
            self.one_leads()

    def stop(self) -> None:
        """No replica is left."""
        for process, _ in self.replicas:
            self.assertEqual(process.stop(), 0)

    def one_leads(self) -> None:
        """All are ready, and one of them leads."""

        def said() -> bool:
            answers = [http(f"{address}/readyz?verbose") or "" for _, address in self.replicas]
            leading, waiting = (sum(words in each for each in answers) for words in (" leads, epoch ", " is standing by"))
            self.assertLessEqual(leading, 1, answers)
            return leading == 1 and leading + waiting == len(answers)

        until("one replica leads and the others stand by", SOON, said, self.stack.say)

    def knows(self, field: str) -> bool:
        """Whether the definition of CloudPools in the cluster has a field."""
        return field in spec_of(self.stack.get("crd", "cloudpools.innkeeper.dev"))

    def outdated(self) -> None:
        """Kinds that lack a field that the operator knows: it is not ready, says why, and goes on when they are replaced."""
        stack = self.stack
        older = chart_with(stack.folder, "older", lambda spec: spec.pop("fenced"))
        before = stack.running()
        stack.helm("upgrade", "innkeeper", str(older), *VALUES)
        self.assertFalse(self.knows("fenced"))

        def said() -> bool:
            answers = [http_failure(f"{address}/readyz") for _, address in self.replicas]
            return all("does not know spec.fenced: apply those of this release" in each for each in answers)

        until("no replica is ready, and each says why", SOON, said, stack.say)
        stack.helm("rollback", "innkeeper", "--namespace", NAMESPACE)
        self.assertTrue(self.knows("fenced"))
        self.one_leads()
        self.assertEqual(stack.running(), before)

    def test_from_the_first_day_to_the_last(self) -> None:
        stack = self.stack
        newer = chart_with(stack.folder, "newer", lambda spec: spec.update(later={"type": "string"}))
        stack.kubectl("create", "namespace", NAMESPACE)
        stack.helm("install", "innkeeper", str(CHART), *VALUES)
        stack.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        self.assertFalse(self.knows("later"))
        self.start()
        self.one_leads()
        self.main_job()
        self.first_boot()
        self.one_leads()
        before = stack.running()

        # An upgrade brings the new kinds and changes no VM; and back.
        stack.helm("upgrade", "innkeeper", str(newer), *VALUES)
        self.assertTrue(self.knows("later"))
        self.replace()
        stack.wait_for_guests(6)
        self.assertEqual(stack.running(), before)
        stack.helm("rollback", "innkeeper", "1", "--namespace", NAMESPACE)
        self.assertFalse(self.knows("later"))
        self.assertEqual(len(stack.get("cloudpools")), 2)
        self.one_leads()
        self.outdated()
        self.tenants()

        # Helm deletes the Deployment first: by the time that the roles go, no operator runs.
        self.stop()
        said = stack.helm("uninstall", "innkeeper", "--namespace", NAMESPACE)
        self.uninstalled(said, before)
        # Installed again, it goes on where it was.
        stack.helm("install", "innkeeper", str(CHART), *VALUES)
        self.start()
        stack.wait_for_guests(6)
        self.assertEqual(stack.running(), before)
        self.leave()
        self.stop()
        self.rights()

    def main_job(self) -> None:
        """What the demonstration does, but for its end."""
        stack = self.stack
        stack.make_secrets()
        for file in (ROOT / "examples").rglob("*.yaml"):
            stack.kubectl("apply", "--server-side", "--dry-run=server", "-f", str(file))
        stack.apply(*stack.examples())
        stack.wait_for_guests(6)
        stack.kubectl("scale", "vw/web", "--replicas=8")
        stack.wait_for_guests(8)
        self.assertEqual(len(stack.running()), 8)
        stack.kubectl("scale", "vw/web", "--replicas=6")
        stack.wait_for_guests(6)
        self.assertEqual(len(stack.running()), 6)

    def first_boot(self) -> None:
        """A guest whose first boot data are in a Secret of its own namespace, which `rbac.secrets` lists."""
        stack = self.stack
        stack.apply({"apiVersion": "v1", "kind": "Secret", **FIRST_BOOT})
        (web,) = stack.examples("03-web")
        web["metadata"]["name"] = "booted"
        web["spec"]["replicas"] = 1
        web["spec"]["template"]["cloudInit"] = {"userDataSecretRef": {"name": "first-boot", "key": "user"}}
        stack.apply(web)
        self.assertIn("booted-0", [guest["metadata"]["name"] for guest in stack.wait_for_guests(7)])
        stack.kubectl("delete", "vw", "booted", "--timeout=60s")
        stack.wait_for_guests(6)

    def tenants(self) -> None:
        """The cluster's own roles let people at workloads, and not at pools, bindings or credentials."""
        stack = self.stack
        for role in ("view", "edit", "admin"):
            stack.kubectl("create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}", "-n", "default")

        def may(user: str, *what: str) -> bool:
            return stack.try_kubectl("auth", "can-i", *what, f"--as={user}").stdout.strip() == "yes"

        # The aggregation is a controller's work.
        until("edit may make workloads", SOON, lambda: may("edit", "create", "virtualworkloads", "-n", "default"))
        expected = {
            ("get", "virtualworkloads"): {"view", "edit", "admin"},
            ("get", "guests"): {"view", "edit", "admin"},
            ("create", "virtualworkloads"): {"edit", "admin"},
            ("patch", "virtualworkloads/scale"): {"edit", "admin"},
            ("delete", "guests"): {"edit", "admin"},
            ("patch", "guests"): set(),
            ("create", "guests"): set(),
            ("patch", "guests/status"): set(),
            ("get", "cloudpools"): set(),
            ("create", "cloudpools"): set(),
        }
        for what, users in expected.items():
            for user in ("view", "edit", "admin"):
                self.assertEqual(may(user, *what, "-n", "default"), user in users, f"{user} {what}")
        for user in ("view", "edit", "admin"):
            self.assertFalse(may(user, "get", "secrets", "-n", NAMESPACE), user)
        self.assertFalse(may(USER, "get", "secrets", "-n", "default"), "the operator reads Secrets where it was allowed")
        self.assertTrue(may(USER, "get", "secrets/first-boot", "-n", "default"))

    def uninstalled(self, said: str, before: set[str]) -> None:
        """Nothing is lost, and helm says what it left."""
        for kind in ("cloudpools", "guests", "virtualworkloads"):
            self.assertIn(f"{kind}.innkeeper.dev", said)
        self.assertEqual(self.stack.running(), before)
        guests = self.stack.guests()
        self.assertEqual(len(guests), 6)
        for guest in guests:
            self.assertEqual(guest["metadata"]["finalizers"], ["innkeeper.dev/vm"])
            self.assertNotIn("deletionTimestamp", guest["metadata"])
        self.assertEqual(len(self.stack.get("cloudpools")), 2)
        self.assertFalse(self.stack.get("clusterroles", "-l", "app.kubernetes.io/instance=innkeeper"))

    def leave(self) -> None:
        """A pool that is deleted before its guests waits, and says for what."""
        stack = self.stack
        stack.kubectl("delete", "cloudpools", "--all", "--wait=false")

        def waits() -> bool:
            ready = condition(stack.get("cloudpool", "xen-london"), "Ready")
            return ready["reason"] == "GuestsRemain" and "4 for now" in ready["message"]

        until("the pool says what it waits for", SOON, waits, stack.say)
        self.assertEqual(len(stack.running()), 6)
        stack.kubectl("delete", "vw", "web", "--timeout=60s")
        stack.wait_for_guests(0)
        stack.kubectl("wait", "cloudpools", "--all", "--for=delete", "--timeout=60s")
        self.assertEqual(stack.held(), {})

    def rights(self) -> None:
        """Nothing was denied, and nothing is allowed that was not used."""
        log = audit.entries(self.log)
        self.assertGreater(len(log), 100)
        self.assertEqual(audit.denied(log), [])
        kinds = ("clusterroles", "clusterrolebindings", "roles", "rolebindings")
        objects = self.stack.get(",".join(kinds), "-A", "-l", "app.kubernetes.io/instance=innkeeper")
        rights = audit.granted(objects, ACCOUNT)
        unused = sorted(map(str, rights - audit.used(log, rights)))
        print(f"rights: {len(rights)} granted, {len(log)} requests, none denied; not used: {', '.join(unused) or 'none'}")
        self.assertEqual(unused, [])


if __name__ == "__main__":
    unittest.main()
