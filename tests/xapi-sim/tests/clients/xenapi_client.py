"""Drives the simulator with PyPI's XenAPI as its users do, over XML-RPC.

Usage: python xenapi_client.py URL USER PASSWORD
"""

import sys
import time

import XenAPI


def main(url: str, user: str, password: str) -> None:
    session = XenAPI.Session(url, ignore_ssl=True)
    session.xenapi.login_with_password(user, password, "1.0", "innkeeper's tests")
    api = session.xenapi
    # "from" is a word of the language, so the attribute has to be asked for by name.
    events_from = getattr(api.event, "from")
    print("API version", session.API_version)
    template = api.VM.get_by_name_label("debian-12")[0]
    task = api.Async.VM.clone(template, "made by XenAPI & <friends>")
    while api.task.get_status(task) == "pending":
        events_from([f"task/{task}"], "", 1.0)
    assert api.task.get_status(task) == "success", api.task.get_error_info(task)
    vm = api.task.get_result(task).removeprefix("<value>").removesuffix("</value>")
    api.task.destroy(task)
    assert api.VM.get_name_label(vm) == "made by XenAPI & <friends>"
    api.VM.provision(vm)
    api.VM.set_memory_limits(vm, str(1 << 29), str(1 << 30), str(1 << 30), str(1 << 30))
    assert api.VM.get_memory_static_max(vm) == str(1 << 30), "integers are text on this wire"
    api.VM.set_HVM_shadow_multiplier(vm, 1.5)
    assert api.VM.get_HVM_shadow_multiplier(vm) == 1.5
    api.VM.start(vm, False, False)
    record = api.VM.get_record(vm)
    assert record["power_state"] == "Running" and record["is_a_template"] is False, record
    assert str(record["snapshot_time"]) == "19700101T00:00:00Z"
    deadline = time.monotonic() + 20
    while not api.VM_guest_metrics.get_networks(record["guest_metrics"]):
        assert time.monotonic() < deadline, "no address in time"
        time.sleep(0.02)
    try:
        api.VM.destroy(vm)
        raise AssertionError("a running VM was destroyed")
    except XenAPI.Failure as failure:
        assert failure.details == ["VM_BAD_POWER_STATE", vm, "halted, suspended", "running"], failure.details
    api.VM.clean_shutdown(vm)
    api.VM.destroy(vm)
    assert len(api.VM.get_all_records()) > 5
    batch = events_from(["vm"], "", 1.0)
    assert {event["class"] for event in batch["events"]} == {"vm"}
    api.session.logout()
    print("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
