"""A comparison that finds nothing must be able to find something: each difference is planted and must be named."""

from __future__ import annotations

import copy
import unittest
from dataclasses import replace
from typing import Any

from compare import compare, mib
from seen import Vm

GUEST: dict[str, Any] = {
    "kind": "Guest",
    "metadata": {"name": "web-4", "namespace": "default", "uid": "uid-4"},
    "spec": {
        "binding": {"pool": "gce-belgium"},
        "template": {"size": {"vcpus": 1, "memory": "2Gi"}},
    },
    "status": {
        "providerId": "europe-west1-b/web-4-ab",
        "incarnation": 2,
        "phase": "Running",
        "addresses": ["10.0.0.2"],
        "vm": {"zone": "europe-west1-b", "instanceType": "e2-small", "vcpus": 2, "memory": "2Gi"},
    },
}
POOLS = {"gce-belgium": {"spec": {"provider": {"gce": {"zones": ["europe-west1-b"]}}}}}
MARKS = {"guest": "uid-4", "incarnation": "2", "namespace": "default", "name": "web-4"}
VM = Vm("gce", "europe-west1-b/web-4-ab", MARKS, "RUNNING", 2, 2048, "europe-west1-b", "e2-small", ("10.0.0.2",))


class Compared(unittest.TestCase):
    """Of one guest and what a client shows of it."""

    def test_what_agrees(self) -> None:
        self.assertEqual(compare([GUEST], POOLS, [VM]), [])
        untold = copy.deepcopy(GUEST)
        del untold["status"]["vm"]["vcpus"], untold["status"]["vm"]["memory"]
        self.assertEqual(compare([untold], POOLS, [VM]), [], "the provider need not tell sizes")

    def test_each_difference_is_named(self) -> None:
        planted = {
            "provider": replace(VM, kind="ec2", state="running"),
            "no client shows": replace(VM, id="europe-west1-b/other"),
            "belongs to no guest": replace(VM, id="europe-west1-b/other"),
            "marks": replace(VM, marks={**MARKS, "incarnation": "1"}),
            "state": replace(VM, state="TERMINATED"),
            "STOPPING": replace(VM, state="STOPPING"),
            "zone: the status": replace(VM, zone="europe-west1-c"),
            "zone: the pool": replace(VM, zone="us-central1-a"),
            "type": replace(VM, type="e2-medium"),
            "addresses": replace(VM, addresses=("10.0.0.3",)),
            "processors": replace(VM, vcpus=4),
            "memory": replace(VM, memory_mib=4096),
            "size": replace(VM, memory_mib=1024),
        }
        for what, vm in planted.items():
            with self.subTest(what):
                self.assertTrue(any(what in each for each in compare([GUEST], POOLS, [vm])))

    def test_hosts_of_xen(self) -> None:
        guest = copy.deepcopy(GUEST)
        guest["status"] |= {"host": "xcp-h1", "vm": {"vcpus": 2, "memory": "2Gi"}}
        pools = {"gce-belgium": {"spec": {"provider": {"xapi": {}}}}}
        vm = replace(VM, kind="xapi", state="Running", zone=None, type=None, host="xcp-h1")
        self.assertEqual(compare([guest], pools, [vm]), [])
        (found,) = compare([guest], pools, [replace(vm, host="xcp-h2")])
        self.assertIn("host: the status says xcp-h1, the client xcp-h2", found)

    def test_two_vms_are_one_too_many(self) -> None:
        other = replace(VM, id="i-1", kind="ec2", marks={**MARKS, "incarnation": "3"})
        self.assertTrue(any("has 2 VMs" in each for each in compare([GUEST], POOLS, [VM, other])))

    def test_sizes(self) -> None:
        for text, expected in {"2Gi": 2048, "512Mi": 512, "3145728": 3, "1Ti": 1 << 20}.items():
            self.assertEqual(mib(text), expected, text)


if __name__ == "__main__":
    unittest.main()
