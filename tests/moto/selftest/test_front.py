"""Faults on demand, credentials, the admin routes, and the end of the process."""

from __future__ import annotations

import subprocess
import sys
import urllib.error

from botocore.exceptions import ConnectionClosedError

from .endpoint import DEADLINE, EndpointTest, client, poll, start


class Faults(EndpointTest):
    def test_errors_on_demand(self) -> None:
        for error, status in (
            ("InsufficientInstanceCapacity", 500),
            ("VcpuLimitExceeded", 400),
            ("RequestLimitExceeded", 503),
            ("UnauthorizedOperation", 403),
        ):
            with self.subTest(error):
                self.admin("POST", "faults", {"action": "RunInstances", "error": error, "count": 2})
                self.refused(error, self.run_instances, status=status)
                self.refused(error, self.run_instances, status=status)
                self.assertEqual(self.admin("GET", "faults"), [])
        self.assertEqual(self.count(), 0)
        self.run_instances()
        self.assertEqual(self.admin("GET", "calls"), {"RunInstances": 9, "DescribeInstances": 1})

    def test_a_fault_can_wait_for_later_requests(self) -> None:
        self.admin("POST", "faults", {"action": "*", "error": "Unavailable", "skip": 1})
        self.run_instances()
        self.refused("Unavailable", self.ec2.describe_instances, status=503)
        self.assertEqual(self.count(), 1)

    def test_a_lost_answer_leaves_an_instance_that_the_token_finds(self) -> None:
        self.admin("POST", "faults", {"action": "RunInstances", "lost": True})
        with self.assertRaises(ConnectionClosedError):
            self.run_instances(ClientToken="t")
        self.assertEqual(self.count(), 1)
        self.run_instances(ClientToken="t")
        self.assertEqual(self.count(), 1)

    def test_a_wrong_rule_is_refused(self) -> None:
        for rule in ({}, {"action": "RunInstances"}, {"action": "x", "error": "y", "count": 0}, {"act": "x"}):
            with self.subTest(rule), self.assertRaises(urllib.error.HTTPError) as caught:
                self.admin("POST", "faults", rule)
            caught.exception.close()
            self.assertEqual(caught.exception.code, 400)


class Access(EndpointTest):
    def test_wrong_keys_are_refused(self) -> None:
        for key, secret in (("AKIAOTHER", "not-a-secret"), ("AKIATEST", "wrong")):
            with self.subTest(key=key, secret=secret):
                other = client(self.url, key=key, secret=secret)
                self.refused("AuthFailure", other.describe_instances, status=401)
        self.ec2.describe_instances()

    def test_other_services_answer_too(self) -> None:
        self.assertIn("Account", client(self.url, "sts").get_caller_identity())
        snapshot = client(self.url, "ebs").start_snapshot(VolumeSize=1)
        self.assertTrue(snapshot["SnapshotId"])


class Process(EndpointTest):
    def test_it_ends_on_sigterm(self) -> None:
        process, state = start()
        process.terminate()
        self.assertEqual(process.wait(DEADLINE), 0)
        self.assertFalse(state.exists())

    def test_it_ends_with_the_process_it_follows(self) -> None:
        followed = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        process, _ = start("--exit-with-pid", str(followed.pid))
        followed.kill()
        followed.communicate()
        poll("the endpoint ends", lambda: process.poll() is not None)
        self.assertEqual(process.returncode, 0)
