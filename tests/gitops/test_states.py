"""Every kind in its states, as kstatus and Argo CD see them."""

from __future__ import annotations

import copy
import unittest
from collections.abc import Callable
from typing import Any

import yaml

from cluster.process import until
from cluster.stack import NAMESPACE, ROOT, SOON, Stack, condition, is_ready

from .verdicts import LUA, argo, kstatus

Object = dict[str, Any]


class States(unittest.TestCase):
    """The states are real ones, of a cluster with an operator."""

    def setUp(self) -> None:
        self.stack = Stack().__enter__()
        self.addCleanup(self.stack.__exit__)
        stack = self.stack
        stack.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        stack.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        stack.kubectl("create", "namespace", NAMESPACE)
        stack.make_secrets()
        self.operator = None

    def is_seen_as(self, what: str, thing: Object, kstatus_says: str, argo_says: str) -> None:
        """Compares both verdicts."""
        with self.subTest(what):
            self.assertEqual((kstatus(thing), argo(thing)[0]), ([kstatus_says], argo_says), f"{what}: {thing.get('status')}")

    def when(self, what: str, name: tuple[str, str], holds: Callable[[Object], bool]) -> Object:
        """The object once it is so."""

        def look() -> Object | None:
            thing = self.stack.get(*name)
            return thing if holds(thing) else None

        return until(what, SOON, look, self.stack.say)

    def start(self) -> None:
        """Starts the operator."""
        self.operator = self.stack.operator(["run"], {}, self.stack.kubeconfig)

    def stop(self) -> None:
        """Stops it."""
        assert self.operator
        self.operator.stop()

    def test_states(self) -> None:
        stack = self.stack
        xen, web = stack.examples("01-xen-london", "03-web")
        web["spec"] |= {"replicas": 2}
        stack.apply(xen, web)
        for name in (("cloudpool", "xen-london"), ("vw", "web")):
            self.is_seen_as("nobody has looked yet", stack.get(*name), "InProgress", "Progressing")
        self.start()
        self.is_seen_as("a pool that answers", self.when("the pool is ready", ("cloudpool", "xen-london"), is_ready), "Current", "Healthy")
        self.is_seen_as("all guests run", self.when("the workload is ready", ("vw", "web"), is_ready), "Current", "Healthy")
        self.is_seen_as("a guest that runs", self.when("the guest is ready", ("guest", "web-0"), is_ready), "Current", "Healthy")

        self.power("Stopped")
        self.is_seen_as("off as wished", self.when("it is off", ("vw", "web"), is_ready), "Current", "Healthy")
        guest = self.when("it is off", ("guest", "web-0"), lambda guest: guest["status"]["phase"] == "Stopped" and is_ready(guest))
        self.is_seen_as("a guest that is off as wished", guest, "Current", "Healthy")

        self.stop()
        self.power("Running")
        self.is_seen_as("the latest change was not seen yet", stack.get("vw", "web"), "InProgress", "Progressing")
        self.start()
        self.when("they run again", ("vw", "web"), is_ready)
        self.nothing_fits()
        self.a_name_is_taken(web)
        self.a_pool_refuses(xen)
        self.leaving()

    def power(self, state: str) -> None:
        """Wishes the guests on or off."""
        patch = f'{{"spec":{{"template":{{"powerState":"{state}"}}}}}}'
        self.stack.kubectl("patch", "vw", "web", "--type=merge", "-p", patch)

    def nothing_fits(self) -> None:
        """More guests than there is room for: that can pass."""
        self.stack.kubectl("scale", "vw/web", "--replicas=6")

        def waits(thing: Object) -> bool:
            return condition(thing, "Placed").get("reason") == "NoPoolFits" and condition(thing, "Reconciling") != {}

        self.is_seen_as("no room", self.when("it waits for room", ("vw", "web"), waits), "InProgress", "Progressing")
        guest = self.when("the guest waits", ("guest", "web-5"), lambda guest: condition(guest, "Ready").get("reason") == "NotPlaced")
        self.is_seen_as("a guest without a pool", guest, "InProgress", "Progressing")
        self.stack.kubectl("scale", "vw/web", "--replicas=2")
        self.when("it is ready again", ("vw", "web"), is_ready)

    def a_name_is_taken(self, web: Object) -> None:
        """Somebody has to act."""
        stack = self.stack
        guest = {
            "apiVersion": web["apiVersion"], "kind": "Guest", "metadata": {"name": "other-0", "namespace": "default"},
            "spec": {"workload": "nobody", "template": {**web["spec"]["template"], "size": {"vcpus": 1, "memory": "64Gi"}}},
        }  # fmt: skip
        other = copy.deepcopy(web)
        other["metadata"]["name"] = "other"
        other["spec"]["replicas"] = 1
        stack.apply(guest)
        stack.apply(other)
        taken = self.when("the name is taken", ("vw", "other"), lambda thing: condition(thing, "Stalled") != {})
        self.is_seen_as("a name is taken", taken, "Failed", "Degraded")
        stack.kubectl("delete", "vw/other", "guest/other-0", "--timeout=60s")

    def a_pool_refuses(self, xen: Object) -> None:
        """A wrong password. The message for Argo CD is the condition's."""
        stack = self.stack
        wrong = copy.deepcopy(xen)
        wrong["metadata"]["name"] = "xen-wrong"
        wrong["spec"]["provider"]["xapi"]["credentialsSecretRef"]["name"] = "wrong"
        metadata = {"name": "wrong", "namespace": NAMESPACE}
        stack.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"username": "root", "password": "no"}})
        stack.apply(wrong)
        pool = self.when("it is refused", ("cloudpool", "xen-wrong"), lambda thing: condition(thing, "Stalled") != {})
        self.is_seen_as("credentials are refused", pool, "Failed", "Degraded")
        self.assertEqual(argo(pool)[1], condition(pool, "Ready")["message"])

    def leaving(self) -> None:
        """A pool that is deleted before its guests."""
        stack = self.stack
        stack.kubectl("delete", "cloudpool", "xen-london", "--wait=false")
        name = ("cloudpool", "xen-london")
        pool = self.when("it says for what it waits", name, lambda thing: condition(thing, "Ready")["reason"] == "GuestsRemain")
        self.is_seen_as("a pool waits for its guests", pool, "Terminating", "Progressing")
        self.assertIn("2 for now", argo(pool)[1])
        stack.kubectl("delete", "vw", "web")
        stack.wait_for_guests(0)
        stack.kubectl("wait", "cloudpool/xen-london", "--for=delete", "--timeout=60s")
        self.assertEqual(stack.held(), {})


class Health(unittest.TestCase):
    """The Lua script by itself."""

    def test_the_config_map_holds_the_script(self) -> None:
        data = yaml.safe_load((LUA.parent / "argocd-cm.yaml").read_text())["data"]
        kinds = {yaml.safe_load(file.read_text())["spec"]["names"]["kind"] for file in (ROOT / "crds").iterdir()}
        self.assertEqual(set(data), {f"resource.customizations.health.innkeeper.dev_{kind}" for kind in kinds})
        for name, text in data.items():
            self.assertEqual(text, LUA.read_text(), name)

    def test_rules(self) -> None:
        def thing(observed: int | None = 1, **conditions: str) -> Object:
            listed = [{"type": kind, "status": status, "message": f"{kind} says"} for kind, status in conditions.items()]
            return {"metadata": {"generation": 1}, "status": {"observedGeneration": observed, "conditions": listed}}

        cases = [
            ({"metadata": {"generation": 1}}, "Progressing", "the operator has not looked at it yet"),
            (thing(Ready="True"), "Healthy", "Ready says"),
            (thing(observed=0, Ready="True"), "Progressing", "the operator has not looked at the latest change yet"),
            (thing(Ready="False", Reconciling="True"), "Progressing", "Ready says"),
            (thing(Ready="True", Reconciling="True"), "Progressing", "Ready says"),
            (thing(Ready="False", Stalled="True"), "Degraded", "Ready says"),
            (thing(Ready="Unknown"), "Progressing", "Ready says"),
            (thing(Ready="True", OrphansFound="True"), "Healthy", "Ready says; OrphansFound says"),
        ]
        for case, status, message in cases:
            with self.subTest(case=case):
                self.assertEqual(argo(case), (status, message))
        leaving = thing(Ready="True")
        leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        self.assertEqual(argo(leaving)[0], "Progressing")


if __name__ == "__main__":
    unittest.main()
