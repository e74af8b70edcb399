"""States that take time, refused transitions, and what Describe does not know yet."""

from __future__ import annotations

from .endpoint import EndpointTest, poll


class Lifecycle(EndpointTest):
    def test_every_state_is_passed_through(self) -> None:
        launched = self.run_instances()[0]
        instance = launched["InstanceId"]
        self.assertEqual(launched["State"]["Name"], "pending")
        self.becomes(instance, "running")
        change = self.ec2.stop_instances(InstanceIds=[instance])["StoppingInstances"][0]
        self.assertEqual((change["PreviousState"]["Name"], change["CurrentState"]["Name"]), ("running", "stopping"))
        self.becomes(instance, "stopped")
        self.ec2.start_instances(InstanceIds=[instance])
        self.becomes(instance, "running")
        change = self.ec2.terminate_instances(InstanceIds=[instance])["TerminatingInstances"][0]
        self.assertEqual(
            (change["PreviousState"]["Name"], change["CurrentState"]["Name"]), ("running", "shutting-down")
        )
        self.becomes(instance, "terminated")
        history = self.admin("GET", "history")
        self.assertEqual(
            [event["state"] for event in history if event["kind"] == "state"],
            ["pending", "running", "stopping", "stopped", "pending", "running", "shutting-down", "terminated"],
        )
        times = [event["time"] for event in history if event["kind"] == "state"]
        self.assertGreaterEqual(times[1] - times[0], 0.2)
        self.assertEqual(
            [event["kind"] for event in history if event["kind"] != "state"],
            ["RunInstances", "StopInstances", "StartInstances", "TerminateInstances"],
        )

    def test_terminating_twice_is_no_error(self) -> None:
        instance = self.run_instances()[0]["InstanceId"]
        self.ec2.terminate_instances(InstanceIds=[instance])
        self.becomes(instance, "terminated")
        change = self.ec2.terminate_instances(InstanceIds=[instance])["TerminatingInstances"][0]
        self.assertEqual(
            (change["PreviousState"]["Name"], change["CurrentState"]["Name"]), ("terminated", "terminated")
        )

    def test_impossible_transitions_are_refused(self) -> None:
        self.admin("POST", "settings", {"delay": 60})
        instance = self.run_instances()[0]["InstanceId"]
        self.refused("IncorrectInstanceState", self.ec2.stop_instances, InstanceIds=[instance])
        self.ec2.start_instances(InstanceIds=[instance])
        self.ec2.terminate_instances(InstanceIds=[instance])
        for call in (self.ec2.start_instances, self.ec2.stop_instances, self.ec2.reboot_instances):
            self.refused("IncorrectInstanceState", call, InstanceIds=[instance])

    def test_the_type_changes_only_while_stopped(self) -> None:
        instance = self.run_instances()[0]["InstanceId"]
        change = {"InstanceId": instance, "InstanceType": {"Value": "t3.small"}}
        self.refused("IncorrectInstanceState", self.ec2.modify_instance_attribute, **change)
        self.becomes(instance, "running")
        self.ec2.stop_instances(InstanceIds=[instance])
        self.becomes(instance, "stopped")
        self.ec2.modify_instance_attribute(**change)
        found = self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        self.assertEqual(found["InstanceType"], "t3.small")


class Spot(EndpointTest):
    def test_a_spot_instance_is_announced_before_it_is_taken_back(self) -> None:
        market = {"MarketType": "spot"}
        first, other = [self.run_instances(InstanceMarketOptions=market)[0]["InstanceId"] for _ in range(2)]
        self.run_instances()

        def codes(*filters: tuple[str, str]) -> dict[str, str]:
            asked = [{"Name": name, "Values": [value]} for name, value in filters]
            found = self.ec2.describe_spot_instance_requests(Filters=asked)["SpotInstanceRequests"]
            return {each["InstanceId"]: each["Status"]["Code"] for each in found}

        self.assertEqual(codes(), {first: "fulfilled", other: "fulfilled"})
        marked = (("state", "active"), ("status-code", "marked-for-termination"))
        self.assertEqual(codes(*marked), {})
        self.admin("POST", "warn", first)
        self.assertEqual(codes(*marked), {first: "marked-for-termination"})
        self.becomes(first, "running")
        self.admin("POST", "interrupt", first)
        self.becomes(first, "terminated")
        self.assertEqual(codes(*marked), {})
        self.assertEqual(codes(("instance-id", first)), {first: "instance-terminated-no-capacity"})

    def test_many_are_listed_in_pages(self) -> None:
        self.run_instances(InstanceMarketOptions={"MarketType": "spot"}, MinCount=7, MaxCount=7)
        pages = self.ec2.get_paginator("describe_spot_instance_requests").paginate(MaxResults=5)
        self.assertEqual([len(page["SpotInstanceRequests"]) for page in pages], [5, 2])


class Visibility(EndpointTest):
    def test_a_fresh_instance_is_hidden_for_a_while(self) -> None:
        self.admin("POST", "settings", {"hide": 1.0})
        instance = self.run_instances(ClientToken="t")[0]["InstanceId"]
        self.refused("InvalidInstanceID.NotFound", self.ec2.describe_instances, InstanceIds=[instance])
        self.refused("InvalidInstanceID.NotFound", self.ec2.terminate_instances, InstanceIds=[instance])
        self.assertEqual(self.count(), 0)
        self.assertEqual(self.run_instances(ClientToken="t")[0]["InstanceId"], instance, "the token knows it")
        poll("the instance is listed", lambda: self.count() == 1)
        self.becomes(instance, "running")

    def test_a_terminated_instance_is_forgotten(self) -> None:
        self.admin("POST", "settings", {"delay": 0, "forget": 0.1})
        instance = self.run_instances(ClientToken="t")[0]["InstanceId"]
        self.ec2.terminate_instances(InstanceIds=[instance])
        poll("the instance is gone", lambda: self.count() == 0)
        self.refused("InvalidInstanceID.NotFound", self.ec2.describe_instances, InstanceIds=[instance])
        self.refused("IdempotentInstanceTerminated", self.run_instances, ClientToken="t")

    def test_an_unknown_filter_is_an_ec2_error(self) -> None:
        self.run_instances()
        filters = [{"Name": "no-such-filter", "Values": ["x"]}]
        self.refused("InvalidParameterValue", self.ec2.describe_instances, Filters=filters)

    def test_what_is_not_served_is_an_ec2_error(self) -> None:
        self.refused("UnsupportedOperation", self.ec2.import_snapshot)
