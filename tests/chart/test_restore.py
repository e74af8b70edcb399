"""The loss of a whole cluster: its data is deleted, the manifests are applied to a new one, and every VM is a guest again."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import unittest
from typing import Any

from cluster.process import until
from cluster.stack import NAMESPACE, PROGRAMS, ROOT, SOON, Stack, condition


class Restore(unittest.TestCase):
    """None is made, none is lost."""

    def setUp(self) -> None:
        self.stack = Stack().__enter__()
        self.addCleanup(self.stack.__exit__)

    def manifests(self) -> None:
        """What is under Git."""
        stack = self.stack
        stack.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        stack.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        for kind in ("cloudpools", "virtualworkloads", "guests"):
            until(f"{kind} are served", SOON, lambda kind=kind: stack.try_kubectl("get", kind, "-A").returncode == 0)
        stack.kubectl("create", "namespace", NAMESPACE)
        stack.make_secrets()
        stack.apply(*stack.examples())

    def cluster_id(self) -> str:
        """What a cluster's VMs are marked with."""
        uid: str = self.stack.get("namespace", "kube-system")["metadata"]["uid"]
        return uid

    def restore(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs the command."""
        command = [str(PROGRAMS / "innkeeper"), "restore", "--kubeconfig", str(self.stack.kubeconfig), "-o", "json", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    def restored(self, *arguments: str) -> dict[str, Any]:
        """What it did, where it did not refuse."""
        done = self.restore(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    def lose_the_cluster(self) -> None:
        """Its data and its keys are gone; a new one begins empty."""
        self.stack.controlplane.stop(kill=True)
        shutil.rmtree(self.stack.folder / "controlplane")
        self.stack.kubeconfig.unlink()
        self.stack.controlplane = self.stack.start_control_plane()

    def test_a_lost_cluster(self) -> None:
        stack = self.stack
        self.manifests()
        operator = stack.operator(["run"], {}, stack.kubeconfig)
        before = {guest["metadata"]["name"]: guest["status"]["providerId"] for guest in stack.wait_for_guests(6)}
        lost, held = self.cluster_id(), stack.held()
        operator.stop(kill=True)
        self.lose_the_cluster()
        self.manifests()
        self.assertNotEqual(self.cluster_id(), lost)

        self.assertEqual(self.restored()["claims"], [], "another cluster's VMs are not ours to take without a word")
        self.refuses_where_a_pool_is_silent(lost)
        would = self.restored("--cluster-id", lost, "--dry-run")
        self.assertEqual((len(would["claims"]), would["left"], stack.guests()), (6, [], []))
        done = self.restored("--cluster-id", lost)
        self.assertEqual({claim["name"]: claim["providerId"] for claim in done["claims"]}, before)
        self.fields_have_their_owners()
        again = self.restored("--cluster-id", lost)
        self.assertEqual([claim["isNew"] for claim in again["claims"]], [False] * 6)
        self.fields_have_their_owners()

        stack.operator(["run", "--cluster-id", lost], {}, stack.kubeconfig, name="operator-2")
        guests = stack.wait_for_guests(6)
        self.assertEqual({guest["metadata"]["name"]: guest["status"]["providerId"] for guest in guests}, before)
        self.assertEqual(stack.held(), held, "nothing was made, nothing is lost")
        for pool in stack.get("cloudpools"):
            self.assertEqual(condition(pool, "OrphansFound"), {}, pool["status"])
        self.life_goes_on(set(before.values()))

    def refuses_where_a_pool_is_silent(self, lost: str) -> None:
        """What it holds would be made a second time."""
        silent = copy.deepcopy(self.stack.examples("01-xen-london")[0])
        silent["metadata"]["name"] = "silent"
        silent["spec"]["provider"]["xapi"]["endpoints"] = ["https://127.0.0.1:1"]
        self.stack.apply(silent)
        done = self.restore("--cluster-id", lost)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot read the pool silent, so nothing was done", done.stderr)
        self.assertEqual(self.stack.guests(), [])
        self.stack.kubectl("delete", "cloudpool", "silent")

    def fields_have_their_owners(self) -> None:
        """Each controller goes on with what is its own."""
        for guest in self.stack.get("guests", "-A", "--show-managed-fields"):
            owners = {entry["manager"]: set(entry["fieldsV1"].get("f:spec", {})) for entry in guest["metadata"]["managedFields"]}
            self.assertEqual(owners["innkeeper-scheduler"], {"f:binding"}, guest["metadata"]["name"])
            self.assertEqual(owners["innkeeper-restore"], {"f:identity"})
            self.assertFalse({"f:binding", "f:identity"} & owners["innkeeper-workload"])
            self.assertIn("f:template", owners["innkeeper-workload"])

    def life_goes_on(self, vms: set[str]) -> None:
        """The restored guests are guests like all others."""
        stack = self.stack
        stack.kubectl("scale", "vw/web", "--replicas=8")
        stack.wait_for_guests(8)
        self.assertLess(vms, stack.running())
        stack.kubectl("patch", "vw", "web", "--type=merge", "-p", '{"spec":{"placement":{"burst":{"after":"2s"}}}}')
        stack.kubectl("scale", "vw/web", "--replicas=2")
        stack.wait_for_guests(2)
        self.assertLess(stack.running(), vms)
        stack.kubectl("delete", "vw", "web", "--timeout=60s")
        stack.wait_for_guests(0)
        stack.kubectl("delete", "cloudpools", "--all", "--timeout=60s")
        self.assertEqual(stack.held(), {})


if __name__ == "__main__":
    unittest.main()
