"""The chart on a real API server, and the operator run as its Deployment runs it: with the Deployment's arguments and
environment, and the rights of its ServiceAccount. There is no kubelet: the operator is a process beside the cluster."""

from __future__ import annotations

import shutil
import tempfile
import unittest
from pathlib import Path
from typing import Any

import yaml

from cluster.process import Process, until
from cluster.stack import NAMESPACE, SOON, Stack, condition

from . import audit
from .chart import CHART, ROOT

ACCOUNT = "innkeeper"
USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
VALUES = ("--namespace", NAMESPACE, "--set", "image.repository=registry.example.com/innkeeper")


def older_chart(folder: Path) -> Path:
    """The chart as it was before CloudPools knew `fenced`."""
    chart = folder / "older"
    shutil.copytree(CHART, chart)
    file = chart / "files/crds/innkeeper.dev_cloudpools.yaml"
    kind = yaml.safe_load(file.read_text())
    del spec_of(kind)["fenced"]
    file.write_text(yaml.safe_dump(kind))
    return chart


def spec_of(kind: dict[str, Any]) -> Any:
    """The fields of a kind's spec."""
    return kind["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]


def environment(container: dict[str, Any]) -> dict[str, str]:
    """A container's environment as a kubelet makes it."""
    fields = {"metadata.name": "innkeeper-of-the-test", "metadata.namespace": NAMESPACE}
    return {
        each["name"]: each["value"] if "value" in each else fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
        for each in container.get("env", [])
    }


class Cluster(unittest.TestCase):
    """One installation from its first day to its last."""

    stack: Stack

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

    def operator(self) -> Process:
        """The operator as the Deployment runs it."""
        deployment = self.stack.get("deployment", "innkeeper", "-n", NAMESPACE)
        pod = deployment["spec"]["template"]["spec"]
        self.assertEqual(pod["serviceAccountName"], ACCOUNT)
        (container,) = pod["containers"]
        self.container = container
        kubeconfig = self.stack.token_kubeconfig(ACCOUNT)
        return self.stack.operator(container["args"], environment(container), kubeconfig)

    def knows_fenced(self) -> bool:
        """Whether the kind in the cluster is the new one."""
        return "fenced" in spec_of(self.stack.get("crd", "cloudpools.innkeeper.dev"))

    def test_from_the_first_day_to_the_last(self) -> None:
        stack = self.stack
        older = older_chart(stack.folder)
        stack.kubectl("create", "namespace", NAMESPACE)
        stack.helm("install", "innkeeper", str(older), *VALUES)
        stack.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        self.assertFalse(self.knows_fenced())
        operator = self.operator()
        self.main_job()
        before = stack.running()

        # An upgrade brings the new kinds and changes no VM; and back.
        stack.helm("upgrade", "innkeeper", str(CHART), *VALUES)
        self.assertTrue(self.knows_fenced())
        operator.stop()
        operator = self.operator()
        stack.wait_for_guests(6)
        self.assertEqual(stack.running(), before)
        stack.helm("rollback", "innkeeper", "1", "--namespace", NAMESPACE)
        self.assertFalse(self.knows_fenced())
        self.assertEqual(len(stack.get("cloudpools")), 2)
        stack.helm("upgrade", "innkeeper", str(CHART), *VALUES)
        self.assertTrue(self.knows_fenced())
        self.tenants()

        # Helm deletes the Deployment first: by the time that the roles go, no operator runs.
        operator.stop()
        said = stack.helm("uninstall", "innkeeper", "--namespace", NAMESPACE)
        self.uninstalled(said, before)
        # Installed again, it goes on where it was.
        stack.helm("install", "innkeeper", str(CHART), *VALUES)
        operator = self.operator()
        stack.wait_for_guests(6)
        self.assertEqual(stack.running(), before)
        self.leave()
        operator.stop()
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
